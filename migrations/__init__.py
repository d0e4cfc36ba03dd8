"""The schema, step by step. Run with `alembic upgrade head`; imported by no one."""
