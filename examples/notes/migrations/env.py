"""How Alembic reaches the database: by DATABASE_URL, like the app."""

import os
from logging.config import fileConfig

from alembic import context
from sqlalchemy import create_engine, pool

if context.config.config_file_name:
    fileConfig(context.config.config_file_name, disable_existing_loggers=False)

engine = create_engine(
    os.environ.get("DATABASE_URL", "sqlite:///data/notes.db"), poolclass=pool.NullPool
)
with engine.connect() as connection:
    context.configure(connection=connection, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()
