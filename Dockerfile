# One image for every process but the sandbox; which one runs is the command's first word (ops/run).
FROM python:3.11-slim AS build
WORKDIR /build
COPY requirements-production.lock .
RUN python -m venv /venv \
 && /venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements-production.lock

FROM python:3.11-slim AS base
RUN useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin shopopti \
 && install -d -o shopopti -g shopopti /files
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 HOST=0.0.0.0 PORT=8000 FLOWER_ADDRESS=0.0.0.0
COPY --from=build /venv /venv
WORKDIR /app

# What pretends to be a supplier does not lie beside what spends a merchant's money: an image of its own, for one
# machine only (docker-compose.yml).
FROM base AS sandbox
ENV SANDBOX_HOST=0.0.0.0
COPY sandbox sandbox
USER shopopti
EXPOSE 8090
CMD ["python", "-m", "sandbox"]

FROM base
COPY alembic.ini Procfile ./
COPY ops/__init__.py ops/home.py ops/queue.py ops/rotate_keys.py ops/run ops/
COPY migrations migrations
COPY services services
COPY tasks tasks
COPY workers workers
COPY api api
# Compiled here, because the processes may not write.
RUN python -m compileall -q .
USER shopopti
EXPOSE 8000
ENTRYPOINT ["/app/ops/run"]
CMD ["api"]
