"""A small run of each of Ray's libraries: `make run M=app.jobs.ray_libraries ARGS=URL`, with where Serve answers.

Prints `NAME: ok` for each, or `NAME: ` and what went wrong.
"""

import sys
import urllib.request
from typing import Any

import ray

from seedcore import MwManager

ROWS = 1000
TARGET = 2.0
WORKERS = 2


def data() -> None:
    import ray.data

    squares = ray.data.range(ROWS).map_batches(lambda batch: {"square": batch["id"] ** 2})
    assert squares.sum("square") == sum(number**2 for number in range(ROWS))


def tune() -> None:
    from ray import tune

    def objective(config: Any) -> None:
        tune.report({"loss": (config["x"] - 3) ** 2})

    results = tune.Tuner(objective, param_space={"x": tune.grid_search([1, 3, 5])}).fit()
    assert results.get_best_result("loss", "min").config["x"] == 3


def train() -> None:
    import ray.train
    from ray.train import ScalingConfig
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer  # the one below those of the frameworks

    def loop() -> None:
        weight = 0.0
        for _ in range(50):
            weight -= 0.1 * 2 * (weight - TARGET)
        MwManager("trained").set_item(str(ray.train.get_context().get_world_rank()), weight)

    DataParallelTrainer(loop, scaling_config=ScalingConfig(num_workers=WORKERS)).fit()
    weights = MwManager("trained").get_items([str(rank) for rank in range(WORKERS)])
    assert [round(weight, 3) for weight in weights.values()] == [TARGET] * WORKERS, weights


def serve() -> None:
    from ray import serve

    @serve.deployment
    class Hello:
        async def __call__(self, request: Any) -> str:
            return f"hello {request.query_params['name']}"

    host, _, port = sys.argv[1].rpartition("//")[2].partition(":")
    if host == "127.0.0.1":  # embedded, where Serve's own port is the API's
        serve.start(http_options={"port": int(port)})
    serve.run(Hello.bind(), name="hello", route_prefix="/hello")
    with urllib.request.urlopen(f"{sys.argv[1]}/hello?name=you") as answer:  # noqa: S310
        assert answer.read() == b"hello you"


if __name__ == "__main__":
    ray.init(log_to_driver=False)
    for library in (data, tune, train, serve):
        try:
            library()
            print(f"{library.__name__}: ok", flush=True)
        except Exception as error:
            print(f"{library.__name__}: {type(error).__name__}: {error}", flush=True)
