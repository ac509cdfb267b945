"""Notes: a small app that Surefoot keeps up to date."""

import html
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated

from fastapi import FastAPI, Header, HTTPException
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, StringConstraints
from sqlalchemy import select

from models import Note, Session
from surefoot.app import UpdateError, post_update_bootstrap, trigger_update
from surefoot.app.asgi import MaintenanceMiddleware

VERSION = "1.0"
TITLE = "Notes"


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    await post_update_bootstrap()
    yield


app = FastAPI(title="Notes", version=VERSION, lifespan=lifespan)


class NewNote(BaseModel):
    text: Annotated[str, StringConstraints(min_length=1, max_length=10_000)]


class SavedNote(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: int
    text: str
    created_at: datetime


@app.post("/api/notes", status_code=201)
def write(new: NewNote) -> SavedNote:
    with Session.begin() as session:
        note = Note(text=new.text)
        session.add(note)
    return SavedNote.model_validate(note)


@app.get("/api/notes")
def read_all(after: int = 0, limit: int = 100) -> list[SavedNote]:
    with Session() as session:
        found = session.scalars(
            select(Note).where(Note.id > after).order_by(Note.id).limit(min(limit, 1000))
        )
        return [SavedNote.model_validate(note) for note in found]


@app.get("/api/notes/{note_id}")
def read(note_id: int) -> SavedNote:
    with Session() as session:
        note = session.get(Note, note_id)
    if note is None:
        raise HTTPException(404, "There is no such note.")
    return SavedNote.model_validate(note)


@app.get("/api/version")
def version() -> dict[str, str]:
    return {"version": VERSION}


@app.get("/health")
def health() -> dict[str, str]:
    with Session() as session:
        session.scalars(select(Note).limit(1)).first()
    return {"status": "ok", "version": VERSION}


@app.get("/", response_class=HTMLResponse)
def page() -> str:
    with Session() as session:
        newest = session.scalars(select(Note).order_by(Note.id.desc()).limit(50)).all()
    items = "".join(f"<li>{html.escape(note.text)}</li>" for note in newest)
    return (
        f"<!doctype html><html lang=en><title>{TITLE}</title><h1>{TITLE}</h1>"
        f"<ul>{items}</ul><footer>Version {VERSION}</footer></html>"
    )


@app.post("/api/admin/update", status_code=202)
async def update(x_admin_token: Annotated[str, Header()] = "") -> dict[str, str]:
    expected = os.environ.get("ADMIN_TOKEN", "")
    if not expected or not secrets.compare_digest(x_admin_token, expected):
        raise HTTPException(403, "Send the administrator's token as X-Admin-Token.")
    try:
        result = await trigger_update()
    except UpdateError as error:
        raise HTTPException(409, str(error)) from error
    return {"status": result.outcome}


# Added last, so that it runs first: nobody gets past it while an update is in flight.
app.add_middleware(MaintenanceMiddleware)
