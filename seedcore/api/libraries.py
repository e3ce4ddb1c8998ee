"""What the API takes from others, to be imported ahead. None of it starts a thread or reads a setting by that."""

# ruff: noqa: E402, F401 - they are there to be found in sys.modules, and imported without the garbage collector
import gc

gc.disable()  # for the reason that server.py gives

import sqlite3

import fastapi.openapi.docs
import grpc.aio
import numpy.typing
import prometheus_client
import pydantic_settings
import pythonjsonlogger.json
import ray.util.scheduling_strategies
import ray.util.state
import tenacity
import uvicorn.lifespan.on
import uvicorn.protocols.http.h11_impl
import xxhash

gc.freeze()
gc.enable()
