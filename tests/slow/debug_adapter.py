"""A client of the Debug Adapter Protocol, as an editor is one: https://microsoft.github.io/debug-adapter-protocol/."""

import json
import socket
from pathlib import Path
from typing import Any, Final

TIMEOUT_S: Final = 60.0


class DebugAdapter:
    """A connection to debugpy.

    Args:
        port: that it listens on.
        folder: of the code here.
        remote: the same folder where the code runs.
        host: where it listens.
    """

    def __init__(self, port: int, folder: Path, remote: str, host: str = "127.0.0.1") -> None:
        self._socket = socket.create_connection((host, port), timeout=TIMEOUT_S)
        self._file = self._socket.makefile("rb")
        self._number = 0
        self._events: list[Any] = []
        self._answers: dict[int, Any] = {}
        self.request("initialize", adapterID="debugpy", pathFormat="path")
        mappings = [{"localRoot": str(folder), "remoteRoot": remote}]
        attached = self._send("attach", pathMappings=mappings, justMyCode=False)
        self.event("initialized")
        self._attached = attached

    def begin(self) -> None:
        """Let the program go on, with the breakpoints that are set."""
        self.request("configurationDone")
        self._answer(self._attached)

    def request(self, command: str, **arguments: Any) -> Any:
        """What the adapter answers."""
        return self._answer(self._send(command, **arguments))

    def event(self, name: str) -> Any:
        """The next event of that name."""
        while True:
            for event in self._events:
                if event["event"] == name:
                    self._events.remove(event)
                    return event.get("body", {})
            self._read()

    def close(self) -> None:
        """Leave the program running."""
        self.request("disconnect", terminateDebuggee=False)
        self._file.close()
        self._socket.close()

    def _send(self, command: str, **arguments: Any) -> int:
        self._number += 1
        message = {"seq": self._number, "type": "request", "command": command, "arguments": arguments}
        data = json.dumps(message).encode()
        self._socket.sendall(b"Content-Length: %d\r\n\r\n%s" % (len(data), data))
        return self._number

    def _answer(self, number: int) -> Any:
        while number not in self._answers:
            self._read()
        answer = self._answers.pop(number)
        assert answer["success"], answer
        return answer.get("body", {})

    def _read(self) -> None:
        length = 0
        while line := self._file.readline().strip():
            length = int(line.partition(b":")[2])
        message = json.loads(self._file.read(length))
        if message["type"] == "response":
            self._answers[message["request_seq"]] = message
        elif message["type"] == "event":
            self._events.append(message)
