"""What a person is told of a build, by what BuildKit printed of real ones."""

import pytest

from scripts.host.image_build import Steps

SUMMARY = """------
 > [seedcore-api uv 4/4] RUN --mount=type=cache,target=/cache python3 -m scripts.host.install_packages get-uv /uv:
------
failed to solve: process "/bin/sh -c ..." did not complete successfully: exit code: 1
"""
GOOD = """#1 [seedcore-api internal] load build definition from Dockerfile
#1 DONE 0.0s

#4 [seedcore-api base 1/4] FROM docker.io/seedcore/python-base:trixie
#4 CACHED

#8 [seedcore-api base 4/4] RUN update-ca-certificates
#8 0.310 Updating certificates in /etc/ssl/certs...
#8 DONE 1.4s

#17 [seedcore-api image  7/14] RUN --mount=type=bind,from=uv --mount=type=cache UV_LINK_MODE=copy python3 x
#17 2.016 Resolved 88 packages in 1.20s
#17 DONE 22.0s

#27 [seedcore-api] exporting to image
#27 DONE 2.7s
"""


def read(output: str) -> tuple[Steps, list[str]]:
    steps = Steps()
    return steps, [shown for line in output.splitlines(keepends=True) if (shown := steps.read(line))]


def test_a_line_for_each_step_that_took_a_while() -> None:
    _, shown = read(GOOD)
    assert shown == [
        "   1.4 s  base 4/4: RUN update-ca-certificates",
        "  22.0 s  image 7/14: RUN python3 x",
        "   2.7 s  exporting",
    ]


def test_a_running_step_is_shown_with_what_it_says() -> None:
    steps, _ = read(GOOD.partition("#17 DONE")[0])
    assert steps.latest == "image 7/14: RUN python3 x  Resolved 88 packages in 1.20s"


def failed(*said: str, error: str = "process did not complete successfully: exit code: 1") -> str:
    """Of a build whose step 17 said this."""
    lines = [f"#17 0.{number:03} {line}" for number, line in enumerate(said)]
    return "\n".join([GOOD.partition("#17 2.016")[0], *lines, f"#17 ERROR: {error}", SUMMARY])


@pytest.mark.parametrize(
    ("output", "words", "never"),
    [
        (
            failed("a base image (BASE_IMAGE) needs Debian or Ubuntu with python3 3.11 to 3.14; this one is Alpine"),
            ["this one is Alpine", "set BASE_IMAGE to another image"],
            "EXTRA_CA_CERTS",
        ),
        (failed("invalid peer certificate: UnknownIssuer"), ["EXTRA_CA_CERTS"], "BASE_IMAGE"),
        (failed("E: Unable to locate package ffmpegg"), ["E: Unable to locate package ffmpegg"], "What to do"),
        (failed("exec /bin/sh: exec format error"), ["another kind of processor"], "EXTRA_CA_CERTS"),
        (
            failed(error='failed to create: exec: "/bin/sh": stat /bin/sh: no such file or directory: unknown'),
            ["stat /bin/sh: no such file", "set BASE_IMAGE to another image"],
            "EXTRA_CA_CERTS",
        ),
    ],
)
def test_a_failed_step_says_why_and_what_to_do(output: str, words: list[str], never: str) -> None:
    steps, _ = read(output)
    said = steps.explain()
    assert said.startswith("building the image failed at image 7/14: RUN python3 x:\n  | ")
    assert all(word in said for word in words), said
    assert never not in said
    assert "Resolved 88" not in said, "of another step"
    assert said.endswith("The whole output is in .local/log/build.log")


def test_a_long_output_is_cut_at_its_beginning() -> None:
    steps, _ = read(failed(*(f"line {number}" for number in range(100))))
    said = steps.explain()
    assert "line 99" in said
    assert "line 42" not in said


def test_a_build_that_came_to_no_step_shows_what_compose_said() -> None:
    steps, shown = read("validating compose.override.yaml: services.mine Additional property imge is not allowed\n")
    assert shown == []
    assert "building the image failed:\n  | validating compose.override.yaml: services.mine" in steps.explain()
