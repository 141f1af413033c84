"""Add replicas, and what keys have used of their limits, with the functions that decide on a request.

A decision is one statement, so it is a function: its statements see what the transaction before it committed, once it
has the lock of the account. A single query would count leases as they were before it waited for that lock.
Each function can be replaced by a later migration, if earlier versions can still call it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "6"
down_revision = "5"

_RATES = ("requests", "prompt_tokens", "cached_tokens", "generated_tokens")


def upgrade() -> None:
    op.create_table(
        "replicas",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("started_at", sa.DateTime, nullable=False),
        sa.Column("seen_at", sa.DateTime, nullable=False),
        sa.Column("state", sa.JSON, nullable=False),
    )
    op.create_table(
        "accounts",
        sa.Column("key_id", sa.String, primary_key=True),
        *(sa.Column(rate, sa.Float, nullable=False) for rate in _RATES),
        sa.Column("mean_cached", sa.Float, nullable=False),
        sa.Column("mean_generated", sa.Float, nullable=False),
        sa.Column("mean_seconds", sa.Float, nullable=False),
        sa.Column("used_tokens", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.DateTime, nullable=False),
    )
    op.create_table(
        "leases",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("key_id", sa.String, nullable=False),
        sa.Column("replica", sa.String, nullable=False),
        sa.Column("begun_at", sa.DateTime, nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger, nullable=False),
        sa.Column("cached_deposit", sa.Float, nullable=False),
        sa.Column("generated_deposit", sa.Float, nullable=False),
        sa.Column("reserved_tokens", sa.BigInteger, nullable=False),
    )
    op.create_index("leases_key", "leases", ["key_id"])
    op.create_index("leases_replica", "leases", ["replica"])
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE accounts SET (fillfactor = 50)")  # rows that change are written to the same page
        op.execute(_ACCOUNT)
        op.execute(_FILLS)
        op.execute(_DECIDE)
        op.execute(_END)
        op.execute(_BEAT)


_ACCOUNT = """
CREATE FUNCTION crossette_account(key text, reads_ledger boolean) RETURNS accounts LANGUAGE plpgsql AS $$
-- The locked account of a key, made if there is none. Its usage is at least that of the ledger, where that is read.
DECLARE
    account accounts;
    used bigint := 0;
BEGIN
    SELECT * INTO account FROM accounts WHERE key_id = key FOR UPDATE;
    IF FOUND AND NOT reads_ledger THEN
        RETURN account;
    END IF;
    SELECT coalesce(sum(prompt_tokens + completion_tokens), 0) INTO used FROM days WHERE key_id = key;
    INSERT INTO accounts VALUES (key, 1, 1, 1, 1, 0, 0, 0, used, timezone('utc', clock_timestamp()))
        ON CONFLICT (key_id) DO UPDATE SET used_tokens = greatest(accounts.used_tokens, excluded.used_tokens)
        RETURNING * INTO account;
    RETURN account;
END $$
"""

_FILLS = """
CREATE FUNCTION crossette_fills(account accounts, minutes float8) RETURNS float8[] LANGUAGE sql IMMUTABLE AS $$
-- How full each limit per minute is, after so many minutes: 1 is all of it, less than 0 is a debt. It does not depend
-- on the limit's size.
SELECT ARRAY[least(1, account.requests + minutes), least(1, account.prompt_tokens + minutes),
    least(1, account.cached_tokens + minutes), least(1, account.generated_tokens + minutes)]
$$
"""

_DECIDE = """
CREATE FUNCTION crossette_decide(
    lease text, key text, by_replica text, prompt bigint, most bigint,
    sizes float8[], concurrent bigint, budget bigint, reads_ledger boolean,
    OUT admitted boolean, OUT fills float8[], OUT used bigint, OUT reserved bigint, OUT num_open bigint,
    OUT next_end_s float8, OUT cached_deposit float8, OUT generated_deposit float8, OUT has_estimates boolean
) LANGUAGE plpgsql AS $$
-- Begin a request (without a prompt), or admit the prompt of one that has begun. Sizes are limits per minute.
DECLARE
    account accounts;
    held leases;
    begins boolean := prompt IS NULL;
    needs float8[];
    takes float8[];
    needed bigint := coalesce(prompt + most, 1);
    moment timestamp;
    oldest timestamp;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    account := crossette_account(key, reads_ledger);
    moment := timezone('utc', clock_timestamp());
    fills := crossette_fills(account, greatest(0, extract(epoch FROM moment - account.updated_at)::float8 / 60));
    used := account.used_tokens;
    SELECT count(*), coalesce(sum(l.reserved_tokens), 0), min(l.begun_at),
        coalesce(bool_or(l.cached_deposit > 0 OR l.generated_deposit > 0), false)
        INTO num_open, reserved, oldest, has_estimates
        FROM leases l JOIN replicas r ON r.id = l.replica
        WHERE l.key_id = key AND l.id <> lease AND r.seen_at > moment - interval '10 seconds';
    next_end_s := greatest(1, account.mean_seconds - extract(epoch FROM moment - coalesce(oldest, moment)));
    admitted := budget IS NULL OR (used < budget AND used + reserved + needed <= budget);
    IF begins THEN
        cached_deposit := account.mean_cached;
        generated_deposit := account.mean_generated;
        needs := ARRAY[1, 1, 1, 1];
        takes := ARRAY[1, 0, cached_deposit, generated_deposit];
        admitted := admitted AND (concurrent IS NULL OR num_open < concurrent);
    ELSE
        SELECT * INTO held FROM leases WHERE id = lease;
        admitted := admitted AND FOUND;  -- it may have been given back meanwhile
        cached_deposit := held.cached_deposit;
        generated_deposit := held.generated_deposit;
        needs := ARRAY[0, prompt, 1 - coalesce(cached_deposit, 0), 1 - coalesce(generated_deposit, 0)];
        takes := ARRAY[0, prompt, 0, 0];
    END IF;
    FOR rate IN 1..4 LOOP
        IF sizes[rate] = 0 OR least(needs[rate], sizes[rate]) - fills[rate] * sizes[rate] > 1e-6 THEN
            admitted := false;
        END IF;
    END LOOP;
    IF NOT admitted THEN
        RETURN;
    END IF;
    FOR rate IN 1..4 LOOP
        fills[rate] := fills[rate] - coalesce(takes[rate] / sizes[rate], 0);
    END LOOP;
    UPDATE accounts SET requests = fills[1], prompt_tokens = fills[2], cached_tokens = fills[3],
        generated_tokens = fills[4], updated_at = moment WHERE key_id = key;
    IF begins THEN
        INSERT INTO leases VALUES (lease, key, by_replica, moment, 0, cached_deposit, generated_deposit, 0);
    ELSE
        UPDATE leases SET prompt_tokens = prompt, reserved_tokens = needed WHERE id = lease;
    END IF;
END $$
"""

_END = """
CREATE FUNCTION crossette_end(ends jsonb) RETURNS void LANGUAGE plpgsql AS $$
-- Take the usage of requests that have ended. One without a lease took nothing before: the database was away, or has
-- lost its last decisions in a crash. Unlike those, this is written to the disk: a lost end would hold its place.
DECLARE
    ended record;
    account accounts;
    held leases;
    fills float8[];
    takes float8[];
    prompt bigint;
    moment timestamp;
BEGIN
    FOR ended IN SELECT * FROM jsonb_to_recordset(ends) AS e(
        lease text, key_id text, requests float8, prompt_tokens bigint, cached_tokens bigint, generated_tokens bigint,
        is_usage boolean, is_repeated boolean, sizes float8[]) ORDER BY e.key_id, e.lease
    LOOP
        account := crossette_account(ended.key_id, false);
        held := NULL;
        IF ended.lease IS NOT NULL THEN
            DELETE FROM leases WHERE id = ended.lease RETURNING * INTO held;
            CONTINUE WHEN NOT FOUND AND (ended.is_repeated OR NOT ended.is_usage);
        END IF;
        moment := timezone('utc', clock_timestamp());
        fills := crossette_fills(account, greatest(0, extract(epoch FROM moment - account.updated_at)::float8 / 60));
        prompt := coalesce(ended.prompt_tokens, held.prompt_tokens, 0);
        takes := ARRAY[CASE WHEN held.id IS NULL AND ended.lease IS NOT NULL THEN 1 ELSE ended.requests END,
            prompt - coalesce(held.prompt_tokens, 0),
            ended.cached_tokens - coalesce(held.cached_deposit, 0),
            ended.generated_tokens - coalesce(held.generated_deposit, 0)];
        FOR rate IN 1..4 LOOP
            fills[rate] := least(1, fills[rate] - coalesce(takes[rate] / nullif(ended.sizes[rate], 0), 0));
        END LOOP;
        UPDATE accounts SET requests = fills[1], prompt_tokens = fills[2], cached_tokens = fills[3],
            generated_tokens = fills[4], updated_at = moment,
            used_tokens = used_tokens + prompt + ended.generated_tokens WHERE key_id = ended.key_id;
        IF ended.is_usage THEN
            UPDATE accounts SET
                mean_cached = mean_cached + (ended.cached_tokens - mean_cached)
                    * CASE mean_cached WHEN 0 THEN 1 ELSE 0.2 END,
                mean_generated = mean_generated + (ended.generated_tokens - mean_generated)
                    * CASE mean_generated WHEN 0 THEN 1 ELSE 0.2 END,
                mean_seconds = mean_seconds
                    + (extract(epoch FROM moment - coalesce(held.begun_at, moment))::float8 - mean_seconds)
                    * CASE mean_seconds WHEN 0 THEN 1 ELSE 0.2 END
                WHERE key_id = ended.key_id;
        END IF;
    END LOOP;
END $$
"""

_BEAT = """
CREATE FUNCTION crossette_beat(replica text, replica_name text, replica_state json) RETURNS bigint
LANGUAGE plpgsql AS $$
-- Say that a replica lives, and return how many do. What was left by replicas that ended long ago is deleted.
DECLARE
    moment timestamp := timezone('utc', clock_timestamp());
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    INSERT INTO replicas VALUES (replica, replica_name, moment, moment, replica_state)
        ON CONFLICT (id) DO UPDATE SET seen_at = moment, state = replica_state;
    IF pg_try_advisory_xact_lock(1668444019, 2) THEN
        DELETE FROM leases WHERE leases.replica IN (SELECT id FROM replicas WHERE seen_at < moment - interval '1 hour');
        DELETE FROM replicas WHERE seen_at < moment - interval '1 hour';
    END IF;
    RETURN (SELECT count(*) FROM replicas WHERE seen_at > moment - interval '10 seconds');
END $$
"""
