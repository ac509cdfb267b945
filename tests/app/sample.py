"""A small app for the launcher: answers, answers slowly, updates, and says which process it is."""

from __future__ import annotations

import asyncio
import os

from fastapi import FastAPI
from starlette.responses import PlainTextResponse

from surefoot.app import trigger_update

app = FastAPI()


@app.get("/pid", response_class=PlainTextResponse)
async def pid() -> str:
    return str(os.getpid())


@app.get("/slow", response_class=PlainTextResponse)
async def slow(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "slow"


@app.get("/update", response_class=PlainTextResponse)
async def update() -> str:
    return (await trigger_update()).outcome


def create() -> FastAPI:
    return app
