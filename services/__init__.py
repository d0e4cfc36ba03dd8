"""Everything the product knows. No FastAPI, no Celery: those live in api/ and workers/."""
