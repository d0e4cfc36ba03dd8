"""Orders of shops, what is sent to suppliers for them, and what waits for somebody."""

from alembic import op

from migrations.tenancy import tenant_table

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

ORDERS = """
CREATE TABLE orders (
    id uuid NOT NULL CONSTRAINT orders_pkey PRIMARY KEY,
    merchant_id uuid NOT NULL CONSTRAINT orders_merchant_id_fkey REFERENCES merchants (id) ON DELETE CASCADE,
    channel text NOT NULL,
    external_id text NOT NULL,
    number text,
    kind text NOT NULL DEFAULT 'order' CONSTRAINT orders_kind_check CHECK (kind IN ('order', 'cancellation')),
    state text NOT NULL DEFAULT 'received' CONSTRAINT orders_state_check CHECK (state IN
        ('received', 'attention', 'ready', 'fulfilling', 'partly_placed', 'placed', 'shipped', 'delivered',
         'cancelled')),
    currency text,
    customer jsonb NOT NULL DEFAULT '{}',
    address jsonb,
    shipping_paid numeric(18, 6),
    placed_at timestamptz,
    note text,
    said bigint NOT NULL DEFAULT 0,
    version integer NOT NULL DEFAULT 1,
    job_id uuid,
    cancelled_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT orders_cancelled_at_check CHECK ((state = 'cancelled') = (cancelled_at IS NOT NULL)),
    CONSTRAINT orders_merchant_id_channel_external_id_key UNIQUE (merchant_id, channel, external_id)
);
CREATE INDEX orders_merchant_id_id_idx ON orders (merchant_id, id);
CREATE INDEX orders_merchant_id_state_id_idx ON orders (merchant_id, state, id);
CREATE INDEX orders_merchant_id_channel_id_idx ON orders (merchant_id, channel, id);

CREATE TABLE order_lines (
    id uuid NOT NULL CONSTRAINT order_lines_pkey PRIMARY KEY,
    merchant_id uuid NOT NULL,
    order_id uuid NOT NULL CONSTRAINT order_lines_order_id_fkey REFERENCES orders (id) ON DELETE CASCADE,
    n integer NOT NULL,
    external_id text,
    sku text,
    barcode text,
    title text,
    quantity integer NOT NULL CONSTRAINT order_lines_quantity_check CHECK (quantity <> 0),
    price numeric(18, 6),
    variant_id uuid,
    mapped_by text CONSTRAINT order_lines_mapped_by_check CHECK (mapped_by IN ('sku', 'barcode', 'hand')),
    cancelled_quantity integer NOT NULL DEFAULT 0,
    returned_quantity integer NOT NULL DEFAULT 0,
    CONSTRAINT order_lines_mapped_check CHECK ((variant_id IS NULL) = (mapped_by IS NULL)),
    CONSTRAINT order_lines_counts_check CHECK (cancelled_quantity >= 0 AND returned_quantity >= 0
        AND cancelled_quantity + returned_quantity <= abs(quantity)),
    CONSTRAINT order_lines_merchant_id_order_id_n_key UNIQUE (merchant_id, order_id, n)
);
CREATE INDEX order_lines_order_id_idx ON order_lines (order_id);
CREATE INDEX order_lines_unmapped_idx ON order_lines (merchant_id, sku) WHERE variant_id IS NULL;

CREATE TABLE order_events (
    id uuid NOT NULL CONSTRAINT order_events_pkey PRIMARY KEY,
    merchant_id uuid NOT NULL,
    order_id uuid NOT NULL CONSTRAINT order_events_order_id_fkey REFERENCES orders (id) ON DELETE CASCADE,
    intent_id uuid,
    kind text NOT NULL,
    data jsonb NOT NULL DEFAULT '{}',
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX order_events_order_id_id_idx ON order_events (order_id, id);

CREATE TABLE order_policies (
    merchant_id uuid NOT NULL CONSTRAINT order_policies_pkey PRIMARY KEY
        CONSTRAINT order_policies_merchant_id_fkey REFERENCES merchants (id) ON DELETE CASCADE,
    route text NOT NULL DEFAULT 'cheapest'
        CONSTRAINT order_policies_route_check CHECK (route IN ('cheapest', 'fastest', 'preferred')),
    preferred uuid[] NOT NULL DEFAULT '{}',
    fallback boolean NOT NULL DEFAULT true,
    one_parcel text NOT NULL DEFAULT 'preferred'
        CONSTRAINT order_policies_one_parcel_check CHECK (one_parcel IN ('preferred', 'required', 'no')),
    split boolean NOT NULL DEFAULT true,
    cost_ceiling numeric(18, 6),
    shipping_ceiling numeric(18, 6),
    ceiling_currency text,
    min_margin numeric(6, 4),
    cost_tolerance numeric(6, 4) NOT NULL DEFAULT 0.05,
    cancel_window_seconds integer NOT NULL DEFAULT 0,
    partial boolean NOT NULL DEFAULT false,
    no_tracking_days integer NOT NULL DEFAULT 7,
    no_movement_hours integer NOT NULL DEFAULT 48,
    unknown_hours integer NOT NULL DEFAULT 2,
    return_window_days integer NOT NULL DEFAULT 30,
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT order_policies_amounts_check CHECK
        (cost_ceiling > 0 AND shipping_ceiling >= 0 AND min_margin < 1 AND cost_tolerance >= 0),
    CONSTRAINT order_policies_ceiling_currency_check CHECK
        (ceiling_currency IS NOT NULL OR (cost_ceiling IS NULL AND shipping_ceiling IS NULL)),
    CONSTRAINT order_policies_periods_check CHECK (cancel_window_seconds BETWEEN 0 AND 604800
        AND no_tracking_days > 0 AND no_movement_hours > 0 AND unknown_hours > 0 AND return_window_days >= 0)
);
"""

INTENTS = """
CREATE TABLE intents (
    id uuid NOT NULL CONSTRAINT intents_pkey PRIMARY KEY,
    merchant_id uuid NOT NULL,
    order_id uuid NOT NULL CONSTRAINT intents_order_id_fkey REFERENCES orders (id) ON DELETE CASCADE,
    connection_id uuid NOT NULL,
    reference text NOT NULL CONSTRAINT intents_reference_key UNIQUE,
    state text NOT NULL DEFAULT 'planned' CONSTRAINT intents_state_check CHECK
        (state IN ('planned', 'sending', 'placed', 'refused', 'unknown', 'cancelled')),
    address jsonb NOT NULL,
    repairs jsonb NOT NULL DEFAULT '[]',
    shipping text[] NOT NULL DEFAULT '{}',
    ceiling numeric(18, 6),
    expected numeric(18, 6),
    charged numeric(18, 6),
    currency text,
    send_after timestamptz NOT NULL DEFAULT now(),
    job_id uuid,
    sender text,
    sending_since timestamptz,
    unknown_since timestamptz,
    doubt_since timestamptz,
    looked_up_at timestamptz,
    attempts integer NOT NULL DEFAULT 0,
    code text,
    reason text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT intents_sender_check CHECK
        ((state = 'sending') = (sender IS NOT NULL) AND (state <> 'sending' OR sending_since IS NOT NULL)),
    CONSTRAINT intents_unknown_check CHECK ((state = 'unknown') = (unknown_since IS NOT NULL)),
    CONSTRAINT intents_money_check CHECK
        (currency IS NOT NULL OR (ceiling IS NULL AND expected IS NULL AND charged IS NULL))
);
CREATE INDEX intents_order_id_idx ON intents (order_id);
CREATE INDEX intents_merchant_id_state_idx ON intents (merchant_id, state, id)
    WHERE state IN ('planned', 'sending', 'unknown');
CREATE INDEX intents_merchant_id_connection_id_idx ON intents (merchant_id, connection_id, id);

CREATE TABLE intent_lines (
    merchant_id uuid NOT NULL,
    intent_id uuid NOT NULL CONSTRAINT intent_lines_intent_id_fkey REFERENCES intents (id) ON DELETE CASCADE,
    order_line_id uuid NOT NULL CONSTRAINT intent_lines_order_line_id_fkey REFERENCES order_lines (id)
        ON DELETE CASCADE,
    offer_variant_id text NOT NULL,
    order_ref text NOT NULL,
    product_id text NOT NULL DEFAULT '',
    quantity integer NOT NULL CONSTRAINT intent_lines_quantity_check CHECK (quantity > 0),
    expected_cost numeric(18, 6),
    supplier_order_id text,
    refused_code text,
    CONSTRAINT intent_lines_pkey PRIMARY KEY (intent_id, order_line_id)
);
CREATE INDEX intent_lines_order_line_id_idx ON intent_lines (order_line_id);
CREATE INDEX intent_lines_offer_idx ON intent_lines (merchant_id, offer_variant_id, intent_id);

CREATE TABLE supplier_orders (
    merchant_id uuid NOT NULL,
    connection_id uuid NOT NULL,
    id text NOT NULL,
    intent_id uuid NOT NULL CONSTRAINT supplier_orders_intent_id_fkey REFERENCES intents (id) ON DELETE CASCADE,
    state text NOT NULL DEFAULT 'unknown' CONSTRAINT supplier_orders_state_check CHECK
        (state IN ('unpaid', 'processing', 'shipped', 'delivered', 'cancelled', 'unknown')),
    raw text,
    total numeric(18, 6),
    currency text,
    paid boolean,
    warehouse text,
    refs text[] NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    state_at timestamptz NOT NULL DEFAULT now(),
    checked_at timestamptz,
    check_at timestamptz,
    CONSTRAINT supplier_orders_pkey PRIMARY KEY (merchant_id, connection_id, id)
);
CREATE INDEX supplier_orders_intent_id_idx ON supplier_orders (intent_id);
CREATE INDEX supplier_orders_check_at_idx ON supplier_orders (merchant_id, connection_id, check_at)
    WHERE check_at IS NOT NULL;

CREATE TABLE parcels (
    id uuid NOT NULL CONSTRAINT parcels_pkey PRIMARY KEY,
    merchant_id uuid NOT NULL,
    connection_id uuid NOT NULL,
    supplier_order_id text NOT NULL,
    intent_id uuid NOT NULL CONSTRAINT parcels_intent_id_fkey REFERENCES intents (id) ON DELETE CASCADE,
    number text NOT NULL,
    carrier text,
    status text,
    at timestamptz,
    at_text text,
    url text,
    first_seen timestamptz NOT NULL DEFAULT now(),
    last_change timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT parcels_of_supplier_order_key UNIQUE (merchant_id, connection_id, supplier_order_id, number)
);
CREATE INDEX parcels_intent_id_idx ON parcels (intent_id);

CREATE TABLE returns (
    id uuid NOT NULL CONSTRAINT returns_pkey PRIMARY KEY,
    merchant_id uuid NOT NULL,
    order_id uuid NOT NULL CONSTRAINT returns_order_id_fkey REFERENCES orders (id) ON DELETE CASCADE,
    state text NOT NULL DEFAULT 'requested' CONSTRAINT returns_state_check CHECK
        (state IN ('requested', 'approved', 'received', 'refunded', 'rejected')),
    refund numeric(18, 6),
    currency text,
    note text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX returns_order_id_idx ON returns (order_id);
CREATE INDEX returns_merchant_id_id_idx ON returns (merchant_id, id);

CREATE TABLE return_lines (
    merchant_id uuid NOT NULL,
    return_id uuid NOT NULL CONSTRAINT return_lines_return_id_fkey REFERENCES returns (id) ON DELETE CASCADE,
    order_line_id uuid NOT NULL CONSTRAINT return_lines_order_line_id_fkey REFERENCES order_lines (id)
        ON DELETE CASCADE,
    quantity integer NOT NULL CONSTRAINT return_lines_quantity_check CHECK (quantity > 0),
    reason text NOT NULL,
    CONSTRAINT return_lines_pkey PRIMARY KEY (return_id, order_line_id)
);
CREATE INDEX return_lines_order_line_id_idx ON return_lines (order_line_id);

CREATE TABLE attention_items (
    id uuid NOT NULL CONSTRAINT attention_items_pkey PRIMARY KEY,
    merchant_id uuid NOT NULL CONSTRAINT attention_items_merchant_id_fkey REFERENCES merchants (id)
        ON DELETE CASCADE,
    order_id uuid CONSTRAINT attention_items_order_id_fkey REFERENCES orders (id) ON DELETE CASCADE,
    intent_id uuid,
    cause text NOT NULL,
    subject text NOT NULL DEFAULT '',
    detail jsonb NOT NULL DEFAULT '{}',
    action text NOT NULL,
    opened_at timestamptz NOT NULL DEFAULT now(),
    closed_at timestamptz
);
CREATE UNIQUE INDEX attention_items_open_idx ON attention_items (merchant_id, order_id, cause, subject)
    NULLS NOT DISTINCT WHERE closed_at IS NULL;
CREATE INDEX attention_items_merchant_id_id_idx ON attention_items (merchant_id, id) WHERE closed_at IS NULL;
CREATE INDEX attention_items_order_id_idx ON attention_items (order_id);
"""

# What an intent may do next. services/orders/states.py says the same in Python; a test holds the two together.
# Three more promises are kept here, because money hangs on them: what was planned to be sent is what is sent; whoever
# is sending is not replaced while they do; and no piece of an order is in two intents that may both reach a supplier.
MOVES = """
CREATE FUNCTION intents_before_update() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF (NEW.id, NEW.reference, NEW.order_id, NEW.connection_id)
            IS DISTINCT FROM (OLD.id, OLD.reference, OLD.order_id, OLD.connection_id) THEN
        RAISE EXCEPTION 'intent % is what it is', OLD.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'intents_same_check';
    END IF;
    IF OLD.state <> 'planned' AND (NEW.address, NEW.shipping, NEW.ceiling)
            IS DISTINCT FROM (OLD.address, OLD.shipping, OLD.ceiling) THEN
        RAISE EXCEPTION 'intent % may have been sent as it is', OLD.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'intents_as_sent_check';
    END IF;
    IF OLD.state = NEW.state THEN
        IF NEW.state = 'sending' AND NEW.sender <> OLD.sender THEN
            RAISE EXCEPTION 'intent % is being sent by another', OLD.id
                USING ERRCODE = 'check_violation', CONSTRAINT = 'intents_one_sender_check';
        END IF;
    ELSIF (OLD.state, NEW.state) NOT IN (
        ('planned', 'sending'), ('planned', 'cancelled'),
        ('sending', 'placed'), ('sending', 'refused'), ('sending', 'unknown'), ('sending', 'planned'),
        ('unknown', 'placed'), ('unknown', 'refused'), ('unknown', 'sending')
    ) THEN
        RAISE EXCEPTION 'intent % may not go from % to %', OLD.id, OLD.state, NEW.state
            USING ERRCODE = 'check_violation', CONSTRAINT = 'intents_move_check';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER intents_before_update BEFORE UPDATE ON intents FOR EACH ROW EXECUTE FUNCTION intents_before_update();

CREATE FUNCTION order_line_fits(line uuid) RETURNS void LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE wanted integer; given integer;
BEGIN
    SELECT quantity - cancelled_quantity INTO wanted FROM order_lines WHERE id = line FOR NO KEY UPDATE;
    SELECT coalesce(sum(intent_lines.quantity), 0) INTO given
        FROM intent_lines JOIN intents ON intents.id = intent_lines.intent_id
        WHERE intent_lines.order_line_id = line AND intent_lines.refused_code IS NULL
            AND intents.state NOT IN ('refused', 'cancelled');
    IF given > wanted THEN
        RAISE EXCEPTION 'order line % is % pieces, and intents have %', line, wanted, given
            USING ERRCODE = 'check_violation', CONSTRAINT = 'order_lines_once_check';
    END IF;
END $$;

CREATE FUNCTION intent_lines_before_change() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE found text;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF (NEW.intent_id, NEW.order_line_id, NEW.offer_variant_id, NEW.order_ref, NEW.product_id, NEW.quantity)
                IS DISTINCT FROM
                (OLD.intent_id, OLD.order_line_id, OLD.offer_variant_id, OLD.order_ref, OLD.product_id, OLD.quantity)
                OR (OLD.refused_code IS NOT NULL AND NEW.refused_code IS NULL) THEN
            RAISE EXCEPTION 'a line of intent % is what it is', OLD.intent_id
                USING ERRCODE = 'check_violation', CONSTRAINT = 'intents_as_sent_check';
        END IF;
        RETURN NEW;
    END IF;
    SELECT state INTO found FROM intents WHERE id = coalesce(NEW.intent_id, OLD.intent_id);
    IF found <> 'planned' THEN
        RAISE EXCEPTION 'intent % may have been sent as it is', coalesce(NEW.intent_id, OLD.intent_id)
            USING ERRCODE = 'check_violation', CONSTRAINT = 'intents_as_sent_check';
    END IF;
    RETURN coalesce(NEW, OLD);
END $$;
CREATE TRIGGER intent_lines_before_change BEFORE INSERT OR UPDATE OR DELETE ON intent_lines
    FOR EACH ROW EXECUTE FUNCTION intent_lines_before_change();

CREATE FUNCTION intent_lines_after_insert() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM order_line_fits(NEW.order_line_id);
    RETURN NULL;
END $$;
CREATE TRIGGER intent_lines_after_insert AFTER INSERT ON intent_lines
    FOR EACH ROW EXECUTE FUNCTION intent_lines_after_insert();

CREATE FUNCTION order_lines_after_update() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM order_line_fits(NEW.id);
    RETURN NULL;
END $$;
CREATE TRIGGER order_lines_after_update AFTER UPDATE ON order_lines FOR EACH ROW
    WHEN (NEW.quantity - NEW.cancelled_quantity < OLD.quantity - OLD.cancelled_quantity)
    EXECUTE FUNCTION order_lines_after_update();
"""

IMPORTS = """
CREATE TABLE order_imports (
    id uuid NOT NULL CONSTRAINT order_imports_pkey PRIMARY KEY,
    merchant_id uuid NOT NULL CONSTRAINT order_imports_merchant_id_fkey REFERENCES merchants (id) ON DELETE CASCADE,
    job_id uuid NOT NULL,
    channel text NOT NULL,
    currency text,
    country text,
    mapping jsonb,
    url text,
    url_secret text,
    filename text,
    storage_key text,
    sha256 text,
    bytes bigint,
    format text,
    encoding text,
    delimiter text,
    columns jsonb,
    rows integer NOT NULL DEFAULT 0,
    staged_rows integer NOT NULL DEFAULT 0,
    staged_at timestamptz,
    done_key text COLLATE "C",
    done_rows integer NOT NULL DEFAULT 0,
    orders_created integer NOT NULL DEFAULT 0,
    orders_changed integer NOT NULL DEFAULT 0,
    orders_unchanged integer NOT NULL DEFAULT 0,
    orders_refused integer NOT NULL DEFAULT 0,
    errors integer NOT NULL DEFAULT 0,
    warnings integer NOT NULL DEFAULT 0,
    error_codes jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);
CREATE INDEX order_imports_merchant_id_id_idx ON order_imports (merchant_id, id);
CREATE INDEX order_imports_merchant_id_job_id_idx ON order_imports (merchant_id, job_id);

CREATE TABLE order_import_errors (
    merchant_id uuid NOT NULL,
    import_id uuid NOT NULL CONSTRAINT order_import_errors_import_id_fkey REFERENCES order_imports (id)
        ON DELETE CASCADE,
    n integer NOT NULL,
    line integer NOT NULL,
    code text NOT NULL,
    "column" text,
    value text,
    reason text NOT NULL,
    fatal boolean NOT NULL,
    CONSTRAINT order_import_errors_pkey PRIMARY KEY (merchant_id, import_id, n)
);

CREATE UNLOGGED TABLE order_drafts (
    merchant_id uuid NOT NULL,
    import_id uuid NOT NULL,
    external_id text COLLATE "C" NOT NULL,
    line integer NOT NULL,
    said jsonb NOT NULL,
    CONSTRAINT order_drafts_pkey PRIMARY KEY (merchant_id, import_id, external_id, line)
);
"""

SHOWN = (
    *("orders", "order_lines", "order_events", "order_policies", "intents", "intent_lines", "supplier_orders"),
    *("parcels", "returns", "return_lines", "attention_items"),
)
KEPT_BACK = ("order_imports", "order_import_errors", "order_drafts")


def upgrade() -> None:
    op.execute(ORDERS)
    op.execute(INTENTS)
    op.execute(MOVES)
    op.execute(IMPORTS)
    for table in SHOWN:
        op.execute(tenant_table(table))
    for table in KEPT_BACK:
        op.execute(tenant_table(table, shown_to_members=False))


def downgrade() -> None:
    op.execute("""
    DROP TABLE order_drafts, order_import_errors, order_imports, attention_items, return_lines, returns, parcels,
        supplier_orders, intent_lines, intents, order_policies, order_events, order_lines, orders;
    DROP FUNCTION order_lines_after_update();
    DROP FUNCTION intent_lines_after_insert();
    DROP FUNCTION intent_lines_before_change();
    DROP FUNCTION order_line_fits(uuid);
    DROP FUNCTION intents_before_update();
    """)
