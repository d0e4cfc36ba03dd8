"""Merchants, members, idempotency keys and the job ledger."""

from alembic import op

from migrations.tenancy import CURRENT_USER_ID, ROLES, close_to_supabase_visitors, ledger_table, tenant_table

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

QUEUES = ("sync", "scraping", "import", "orders", "ai", "webhooks")

MERCHANTS = """
CREATE TABLE merchants (
    id uuid NOT NULL CONSTRAINT merchants_pkey PRIMARY KEY,
    name text NOT NULL,
    founder_user_id uuid CONSTRAINT merchants_founder_user_id_key UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE members (
    merchant_id uuid NOT NULL CONSTRAINT members_merchant_id_fkey REFERENCES merchants (id) ON DELETE CASCADE,
    user_id uuid NOT NULL,
    role text NOT NULL CONSTRAINT members_role_check CHECK (role IN ('owner', 'staff', 'viewer')),
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT members_pkey PRIMARY KEY (merchant_id, user_id)
);
CREATE INDEX members_user_id_idx ON members (user_id);
CREATE TABLE idempotency_keys (
    merchant_id uuid NOT NULL CONSTRAINT idempotency_keys_merchant_id_fkey REFERENCES merchants (id) ON DELETE CASCADE,
    key text NOT NULL,
    route text NOT NULL,
    fingerprint text NOT NULL,
    status integer,
    body jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (merchant_id, key)
);
CREATE INDEX idempotency_keys_expires_at_idx ON idempotency_keys (expires_at);
"""

LEDGER = """
CREATE TABLE queues (
    name text NOT NULL CONSTRAINT queues_pkey PRIMARY KEY,
    paused_at timestamptz,
    paused_by text,
    pause_reason text,
    max_running integer,
    merchant_cap integer,
    last_merchant_id uuid,
    consumed_at timestamptz
);
CREATE TABLE merchant_caps (
    merchant_id uuid NOT NULL CONSTRAINT merchant_caps_merchant_id_fkey REFERENCES merchants (id) ON DELETE CASCADE,
    queue text NOT NULL CONSTRAINT merchant_caps_queue_fkey REFERENCES queues (name),
    max_in_flight integer NOT NULL CONSTRAINT merchant_caps_max_in_flight_check CHECK (max_in_flight >= 0),
    CONSTRAINT merchant_caps_pkey PRIMARY KEY (merchant_id, queue)
);
CREATE TABLE jobs (
    id uuid NOT NULL CONSTRAINT jobs_pkey PRIMARY KEY,
    merchant_id uuid NOT NULL CONSTRAINT jobs_merchant_id_fkey REFERENCES merchants (id) ON DELETE CASCADE,
    kind text NOT NULL,
    queue text NOT NULL,
    args jsonb NOT NULL,
    state text NOT NULL DEFAULT 'queued',
    reason text NOT NULL DEFAULT 'enqueued',
    priority smallint NOT NULL DEFAULT 0,
    run_at timestamptz NOT NULL DEFAULT now(),
    attempt integer NOT NULL DEFAULT 0,
    max_attempts integer NOT NULL DEFAULT 5,
    claims integer NOT NULL DEFAULT 0,
    timeout_seconds integer,
    unique_key text,
    parent_id uuid CONSTRAINT jobs_parent_id_fkey REFERENCES jobs (id) ON DELETE SET NULL,
    schedule_id uuid,
    fire_at timestamptz,
    request_id text,
    rung_at timestamptz,
    rings smallint NOT NULL DEFAULT 0,
    worker text,
    lease_until timestamptz,
    cancel_requested_at timestamptz,
    progress_done bigint,
    progress_total bigint,
    progress_note text,
    result jsonb,
    error_code text,
    error_message text,
    error_fingerprint text,
    created_at timestamptz NOT NULL DEFAULT now(),
    queued_at timestamptz,
    started_at timestamptz,
    ended_at timestamptz,
    CONSTRAINT jobs_state_check CHECK
        (state IN ('scheduled', 'queued', 'running', 'waiting', 'succeeded', 'failed', 'cancelled')),
    CONSTRAINT jobs_ended_at_check CHECK
        ((state IN ('succeeded', 'failed', 'cancelled')) = (ended_at IS NOT NULL)),
    CONSTRAINT jobs_lease_until_check CHECK ((state = 'running') = (lease_until IS NOT NULL)),
    CONSTRAINT jobs_rung_at_check CHECK (rung_at IS NULL OR state IN ('queued', 'running')),
    CONSTRAINT jobs_attempts_check CHECK (max_attempts >= 1 AND attempt >= 0),
    CONSTRAINT jobs_priority_check CHECK (priority BETWEEN -100 AND 100)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
-- Ids are in the order of the heap, and a planner that knows it walks the primary key through everybody else's newer
-- jobs to find a merchant's: 89 ms for a page that its own index gives in 1.4 (a million rows, measured).
ALTER TABLE jobs ALTER COLUMN id SET STATISTICS 0;
CREATE INDEX jobs_merchant_id_id_idx ON jobs (merchant_id, id);
CREATE INDEX jobs_merchant_id_state_id_idx ON jobs (merchant_id, state, id);
CREATE INDEX jobs_merchant_id_kind_id_idx ON jobs (merchant_id, kind, id);
CREATE INDEX jobs_waiting_for_dispatch_idx ON jobs (queue, merchant_id, priority DESC, id)
    WHERE state = 'queued' AND rung_at IS NULL;
CREATE INDEX jobs_in_flight_idx ON jobs (queue, merchant_id) WHERE rung_at IS NOT NULL;
CREATE INDEX jobs_run_at_idx ON jobs (run_at) WHERE state = 'scheduled';
CREATE INDEX jobs_waiting_for_children_idx ON jobs (id) WHERE state = 'waiting';
CREATE INDEX jobs_parent_id_idx ON jobs (parent_id, state) WHERE parent_id IS NOT NULL;
CREATE UNIQUE INDEX jobs_unique_key_idx ON jobs (merchant_id, kind, unique_key)
    WHERE unique_key IS NOT NULL AND state NOT IN ('succeeded', 'failed', 'cancelled');
CREATE UNIQUE INDEX jobs_schedule_id_fire_at_idx ON jobs (schedule_id, fire_at) WHERE schedule_id IS NOT NULL;
CREATE INDEX jobs_error_fingerprint_idx ON jobs (merchant_id, error_fingerprint, id) WHERE state = 'failed';
CREATE INDEX jobs_ended_at_idx ON jobs (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE job_events (
    id bigint GENERATED ALWAYS AS IDENTITY,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    job_id uuid NOT NULL,
    merchant_id uuid NOT NULL,
    kind text NOT NULL,
    queue text NOT NULL,
    state text NOT NULL,
    reason text NOT NULL,
    attempt integer NOT NULL,
    worker text,
    error_code text,
    error_message text,
    run_ms bigint,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT job_events_pkey PRIMARY KEY (job_id, id)
) WITH (autovacuum_vacuum_insert_scale_factor = 0.1);
CREATE INDEX job_events_merchant_id_xid_id_idx ON job_events (merchant_id, xid, id);
CREATE INDEX job_events_xid_id_idx ON job_events (xid, id);

CREATE TABLE job_stats (
    merchant_id uuid NOT NULL,
    minute timestamptz NOT NULL,
    kind text NOT NULL,
    queue text NOT NULL,
    state text NOT NULL,
    bucket smallint NOT NULL,
    jobs bigint NOT NULL,
    CONSTRAINT job_stats_pkey PRIMARY KEY (merchant_id, minute, kind, queue, state, bucket)
);
CREATE TABLE job_totals (
    kind text NOT NULL,
    queue text NOT NULL,
    state text NOT NULL,
    reason text NOT NULL,
    bucket smallint NOT NULL,
    jobs bigint NOT NULL,
    CONSTRAINT job_totals_pkey PRIMARY KEY (kind, queue, state, reason, bucket)
);
CREATE TABLE stats_position (
    one boolean NOT NULL DEFAULT true CONSTRAINT stats_position_pkey PRIMARY KEY
        CONSTRAINT stats_position_one_check CHECK (one),
    xid xid8 NOT NULL
);
INSERT INTO stats_position (xid) VALUES ('0');

CREATE TABLE schedules (
    id uuid NOT NULL CONSTRAINT schedules_pkey PRIMARY KEY,
    merchant_id uuid NOT NULL CONSTRAINT schedules_merchant_id_fkey REFERENCES merchants (id) ON DELETE CASCADE,
    name text NOT NULL,
    kind text NOT NULL,
    args jsonb NOT NULL,
    cron text,
    interval_seconds integer CONSTRAINT schedules_interval_seconds_check CHECK (interval_seconds >= 10),
    time_zone text NOT NULL DEFAULT 'UTC',
    misfire text NOT NULL DEFAULT 'once'
        CONSTRAINT schedules_misfire_check CHECK (misfire IN ('skip', 'once', 'catch_up')),
    overlap text NOT NULL DEFAULT 'skip' CONSTRAINT schedules_overlap_check CHECK (overlap IN ('skip', 'queue')),
    enabled boolean NOT NULL DEFAULT true,
    next_fire_at timestamptz NOT NULL,
    last_fire_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT schedules_cron_or_interval_check CHECK ((cron IS NULL) <> (interval_seconds IS NULL)),
    CONSTRAINT schedules_merchant_id_name_key UNIQUE (merchant_id, name)
);
CREATE INDEX schedules_next_fire_at_idx ON schedules (next_fire_at) WHERE enabled;

CREATE TABLE processes (
    id text NOT NULL CONSTRAINT processes_pkey PRIMARY KEY,
    role text NOT NULL,
    queues text[] NOT NULL DEFAULT '{}',
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at timestamptz NOT NULL DEFAULT now(),
    lag_seconds double precision
);
"""

# What a job may do next. services/jobs/states.py says the same in Python; a test holds the two together.
MOVES = """
CREATE TABLE job_moves (
    from_state text NOT NULL,
    to_state text NOT NULL,
    CONSTRAINT job_moves_pkey PRIMARY KEY (from_state, to_state)
);
INSERT INTO job_moves (from_state, to_state) VALUES
    ('scheduled', 'queued'), ('scheduled', 'cancelled'),
    ('queued', 'running'), ('queued', 'cancelled'),
    ('running', 'succeeded'), ('running', 'failed'), ('running', 'cancelled'),
    ('running', 'queued'), ('running', 'scheduled'), ('running', 'waiting'),
    ('waiting', 'succeeded'), ('waiting', 'failed'), ('waiting', 'cancelled'),
    ('failed', 'queued'), ('cancelled', 'queued'),
    ('succeeded', 'waiting'), ('failed', 'waiting'), ('cancelled', 'waiting');

CREATE FUNCTION jobs_after_insert() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO job_events (job_id, merchant_id, kind, queue, state, reason, attempt)
        SELECT id, merchant_id, kind, queue, state, reason, attempt FROM new_rows;
    PERFORM pg_notify('shopopti_jobs', queue) FROM (SELECT DISTINCT queue FROM new_rows WHERE state = 'queued') due;
    RETURN NULL;
END $$;

CREATE FUNCTION jobs_after_move() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM job_moves WHERE from_state = OLD.state AND to_state = NEW.state) THEN
        RAISE EXCEPTION 'job % may not go from % to %', NEW.id, OLD.state, NEW.state
            USING ERRCODE = 'check_violation', CONSTRAINT = 'jobs_move_check';
    END IF;
    INSERT INTO job_events
        (job_id, merchant_id, kind, queue, state, reason, attempt, worker, error_code, error_message, run_ms)
        VALUES (NEW.id, NEW.merchant_id, NEW.kind, NEW.queue, NEW.state, NEW.reason, NEW.attempt,
            CASE WHEN NEW.state = 'running' OR OLD.state = 'running' THEN NEW.worker END,
            NEW.error_code, NEW.error_message,
            CASE WHEN OLD.state = 'running'
                 THEN (extract(epoch FROM clock_timestamp() - OLD.started_at) * 1000)::bigint END);
    IF NEW.state = 'queued' THEN
        PERFORM pg_notify('shopopti_jobs', NEW.queue);
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER jobs_after_insert AFTER INSERT ON jobs
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION jobs_after_insert();
-- WHEN is looked at without a call: bells, heartbeats and progress, which change no state, pay nothing.
CREATE TRIGGER jobs_after_move AFTER UPDATE ON jobs FOR EACH ROW WHEN (OLD.state <> NEW.state)
    EXECUTE FUNCTION jobs_after_move();
"""

# Members are looked up before the merchant is known: a user may always see their own memberships.
OWN_MEMBERSHIPS = f"""
CREATE POLICY members_of_user ON members FOR SELECT TO shopopti_app USING (user_id = {CURRENT_USER_ID});
CREATE POLICY merchants_of_user ON merchants FOR SELECT TO shopopti_app
    USING (id IN (SELECT members.merchant_id FROM members WHERE members.user_id = {CURRENT_USER_ID}));
"""

SUPABASE = """
DO $$ BEGIN
    IF to_regprocedure('auth.uid()') IS NOT NULL THEN
        DROP POLICY members_of_member ON members;
        CREATE POLICY members_of_member ON members FOR SELECT TO authenticated USING (user_id = (SELECT auth.uid()));
    END IF;
    IF EXISTS (SELECT FROM pg_publication WHERE pubname = 'supabase_realtime') THEN
        ALTER PUBLICATION supabase_realtime ADD TABLE jobs;
    END IF;
END $$;
"""

SHARED_TABLES = ("queues", "processes", "job_moves", "job_totals", "stats_position")


def upgrade() -> None:
    op.execute(ROLES)
    op.execute(MERCHANTS)
    op.execute(LEDGER)
    op.execute(MOVES)
    for queue in QUEUES:
        op.execute(f"INSERT INTO queues (name) VALUES ('{queue}')")
    op.execute(tenant_table("members"))
    op.execute(tenant_table("merchants", column="id"))
    op.execute(OWN_MEMBERSHIPS)
    op.execute(tenant_table("idempotency_keys", shown_to_members=False))
    op.execute(tenant_table("jobs", grants="SELECT, INSERT, UPDATE"))
    op.execute(tenant_table("job_events", grants="SELECT, INSERT"))
    op.execute(tenant_table("job_stats", grants="SELECT"))
    op.execute(tenant_table("schedules"))
    op.execute(tenant_table("merchant_caps", grants="SELECT"))
    for table in ("jobs", "job_events", "job_stats", "schedules", "merchant_caps", "idempotency_keys"):
        op.execute(ledger_table(table))
    for table in SHARED_TABLES:
        op.execute(f"GRANT SELECT ON {table} TO shopopti_app")
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO shopopti_ledger")
        op.execute(close_to_supabase_visitors(table))
    op.execute("GRANT SELECT ON alembic_version TO shopopti_ledger")  # /ready compares it with the code
    op.execute(close_to_supabase_visitors("alembic_version"))
    op.execute(SUPABASE)


def downgrade() -> None:
    op.execute("""
    DROP TABLE processes, schedules, stats_position, job_totals, job_stats, job_events, jobs, merchant_caps, queues,
        job_moves, idempotency_keys, members, merchants;
    DROP FUNCTION jobs_after_insert();
    DROP FUNCTION jobs_after_move();
    """)
