# One image for every process; which one runs is the command's first word (ops/run).
FROM python:3.11-slim AS build
WORKDIR /build
COPY requirements-production.lock .
RUN python -m venv /venv \
 && /venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements-production.lock

FROM python:3.11-slim
RUN useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin shopopti \
 && install -d -o shopopti -g shopopti /files
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 HOST=0.0.0.0 PORT=8000 FLOWER_ADDRESS=0.0.0.0
COPY --from=build /venv /venv
WORKDIR /app
COPY alembic.ini Procfile ./
COPY ops/__init__.py ops/home.py ops/queue.py ops/run ops/
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
