"""What the `api` process serves: `uvicorn --factory api.serve:app`."""

from typing import TYPE_CHECKING

from services.core.loading import loading

if TYPE_CHECKING:
    from fastapi import FastAPI


def app() -> "FastAPI":
    """The application, loaded and made at once."""
    with loading():
        from api.app import create_app

        return create_app()
