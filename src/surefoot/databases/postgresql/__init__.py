"""PostgreSQL: what the transaction asks of a database, by cloning and renaming on the server.

`database` is what `surefoot.databases.database` hands out, `cloning` what `snapshot` calls. Whoever
imports one of them needs psycopg.

The databases that are made beside the app's are called `<app's>_surefoot_<role>_<token>`, see
`names`. Passwords go to psycopg and into the environment of a program, nowhere else.
"""
