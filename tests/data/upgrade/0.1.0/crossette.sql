CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE public.batches (
    id character varying NOT NULL,
    key_id character varying NOT NULL,
    endpoint character varying NOT NULL,
    input_file_id character varying NOT NULL,
    completion_window character varying NOT NULL,
    metadata json,
    output_keep_s integer,
    status character varying NOT NULL,
    errors json,
    model character varying,
    output_file_id character varying NOT NULL,
    error_file_id character varying NOT NULL,
    total integer NOT NULL,
    completed integer NOT NULL,
    failed integer NOT NULL,
    output_bytes bigint NOT NULL,
    error_bytes bigint NOT NULL,
    prompt_tokens bigint NOT NULL,
    cached_tokens bigint NOT NULL,
    completion_tokens bigint NOT NULL,
    reasoning_tokens bigint NOT NULL,
    created_at timestamp without time zone NOT NULL,
    expires_at timestamp without time zone NOT NULL,
    in_progress_at timestamp without time zone,
    finalizing_at timestamp without time zone,
    completed_at timestamp without time zone,
    failed_at timestamp without time zone,
    expired_at timestamp without time zone,
    cancelling_at timestamp without time zone,
    cancelled_at timestamp without time zone,
    runner character varying,
    lease_until timestamp without time zone
);
CREATE TABLE public.days (
    day character varying NOT NULL,
    key_id character varying NOT NULL,
    model character varying NOT NULL,
    requests bigint NOT NULL,
    errors bigint NOT NULL,
    prompt_tokens bigint NOT NULL,
    cached_tokens bigint NOT NULL,
    completion_tokens bigint NOT NULL,
    reasoning_tokens bigint NOT NULL,
    cost double precision
);
CREATE TABLE public.file_parts (
    file_id character varying NOT NULL,
    number integer NOT NULL,
    data bytea NOT NULL
);
CREATE TABLE public.files (
    id character varying NOT NULL,
    key_id character varying NOT NULL,
    purpose character varying NOT NULL,
    filename character varying NOT NULL,
    size bigint NOT NULL,
    created_at timestamp without time zone NOT NULL,
    expires_at timestamp without time zone NOT NULL,
    is_complete boolean NOT NULL
);
CREATE TABLE public.keys (
    id character varying NOT NULL,
    name character varying NOT NULL,
    version integer NOT NULL,
    hash character varying NOT NULL,
    previous_hash character varying,
    previous_until timestamp without time zone,
    created_at timestamp without time zone NOT NULL,
    expires_at timestamp without time zone,
    revoked_at timestamp without time zone,
    is_admin boolean NOT NULL,
    models json,
    limits json NOT NULL
);
CREATE TABLE public.requests (
    id character varying NOT NULL,
    request_id character varying NOT NULL,
    "time" timestamp without time zone NOT NULL,
    key_id character varying NOT NULL,
    dialect character varying NOT NULL,
    endpoint character varying NOT NULL,
    model character varying NOT NULL,
    status integer NOT NULL,
    finish_reason character varying,
    prompt_tokens integer NOT NULL,
    cached_tokens integer NOT NULL,
    completion_tokens integer NOT NULL,
    reasoning_tokens integer NOT NULL,
    first_token_s double precision,
    total_s double precision NOT NULL,
    cost double precision,
    client character varying NOT NULL,
    "user" character varying NOT NULL,
    metadata json,
    request_content text,
    answer_content text,
    is_served boolean DEFAULT true NOT NULL,
    batch_id character varying DEFAULT ''::character varying NOT NULL
);
CREATE TABLE public.responses (
    id character varying NOT NULL,
    key_id character varying NOT NULL,
    previous_id character varying,
    created_at timestamp without time zone NOT NULL,
    expires_at timestamp without time zone NOT NULL,
    alive_until timestamp without time zone,
    input text NOT NULL,
    response text NOT NULL
);
INSERT INTO public.alembic_version (version_num) VALUES ('5');
INSERT INTO public.batches (id, key_id, endpoint, input_file_id, completion_window, metadata, output_keep_s, status, errors, model, output_file_id, error_file_id, total, completed, failed, output_bytes, error_bytes, prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens, created_at, expires_at, in_progress_at, finalizing_at, completed_at, failed_at, expired_at, cancelling_at, cancelled_at, runner, lease_until) VALUES ('batch_8cb2ad7642f948358f00e0b9a73b406f', 'key-q8zdtfpl', '/v1/completions', 'file-652ea12f590b44978f28dc8ef0bcb668', '24h', NULL, NULL, 'completed', NULL, 'tiny', 'file-28ccc772504c41e18f486003852d2eb5', 'file-6afaa6024c87414abc858e2a2e558f19', 1, 1, 0, 629, 0, 4, 0, 4, 0, '9999-01-01 00:00:00', '2026-11-30 09:51:50.514862', '2026-11-29 09:51:50.563355', '2026-11-29 09:51:50.617398', '2026-11-29 09:51:50.637386', NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.days (day, key_id, model, requests, errors, prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens, cost) VALUES ('2026-11-29', 'key-q8zdtfpl', 'tiny', 3, 0, 31, 0, 12, 0, 3.9e-05);
INSERT INTO public.file_parts (file_id, number, data) VALUES ('file-652ea12f590b44978f28dc8ef0bcb668', 0, '\x7b22637573746f6d5f6964223a202231222c20226d6574686f64223a2022504f5354222c202275726c223a20222f76312f636f6d706c6574696f6e73222c2022626f6479223a207b226d6f64656c223a202274696e79222c202270726f6d7074223a20224f6e6365222c20226d61785f746f6b656e73223a20342c202274656d7065726174757265223a20302c202269676e6f72655f656f73223a20747275657d7d');
INSERT INTO public.file_parts (file_id, number, data) VALUES ('file-28ccc772504c41e18f486003852d2eb5', 1, '\x7b226964223a2262617463685f7265715f3032366631613736393534323463616339326230303861656361333738643863222c22637573746f6d5f6964223a2231222c22726573706f6e7365223a7b227374617475735f636f6465223a3230302c22726571756573745f6964223a2262617463685f7265715f3032366631613736393534323463616339326230303861656361333738643863222c22626f6479223a7b226964223a22636d706c2d6632383434303731323432313462643839316161343064316234383833396561222c226f626a656374223a22746578745f636f6d706c6574696f6e222c2263726561746564223a313739353934353931302c226d6f64656c223a2274696e79222c2263686f69636573223a5b7b22696e646578223a302c2274657874223a224f4f4fefbfbd222c2266696e6973685f726561736f6e223a226c656e677468222c226c6f6770726f6273223a6e756c6c7d5d2c227573616765223a7b2270726f6d70745f746f6b656e73223a342c22746f74616c5f746f6b656e73223a382c22636f6d706c6574696f6e5f746f6b656e73223a342c2270726f6d70745f746f6b656e735f64657461696c73223a7b226361636865645f746f6b656e73223a307d2c22636f6d706c6574696f6e5f746f6b656e735f64657461696c73223a7b22726561736f6e696e675f746f6b656e73223a302c2261636365707465645f70726564696374696f6e5f746f6b656e73223a302c2272656a65637465645f70726564696374696f6e5f746f6b656e73223a307d7d2c2273797374656d5f66696e6765727072696e74223a2266705f66343466623339336238227d7d2c226572726f72223a6e756c6c7d0a');
INSERT INTO public.files (id, key_id, purpose, filename, size, created_at, expires_at, is_complete) VALUES ('file-652ea12f590b44978f28dc8ef0bcb668', 'key-q8zdtfpl', 'batch', 'requests.jsonl', 162, '2026-11-29 09:51:50.499747', '9999-01-01 00:00:00', true);
INSERT INTO public.files (id, key_id, purpose, filename, size, created_at, expires_at, is_complete) VALUES ('file-28ccc772504c41e18f486003852d2eb5', 'key-q8zdtfpl', 'batch_output', 'batch_8cb2ad7642f948358f00e0b9a73b406f_output.jsonl', 629, '2026-11-29 09:51:50.637386', '9999-01-01 00:00:00', true);
INSERT INTO public.keys (id, name, version, hash, previous_hash, previous_until, created_at, expires_at, revoked_at, is_admin, models, limits) VALUES ('key-q8zdtfpl', 'ann', 1, 'a191ddfd0c70c93aef25a8f6a13af0a247c02f2bdc8114fe35af1f8b85ca765c', NULL, NULL, '2026-11-29 09:51:42.301703', NULL, NULL, false, NULL, '{"total_tokens": 100000}');
INSERT INTO public.keys (id, name, version, hash, previous_hash, previous_until, created_at, expires_at, revoked_at, is_admin, models, limits) VALUES ('key-70w2bvoc', 'boss', 1, '77bed668b8b4e15cd8daf354fa5a38644500885d9f2f284f28d40d481db4b904', NULL, NULL, '2026-11-29 09:51:44.153232', NULL, NULL, true, NULL, '{}');
INSERT INTO public.keys (id, name, version, hash, previous_hash, previous_until, created_at, expires_at, revoked_at, is_admin, models, limits) VALUES ('key-ugcxv4i6', 'gone', 2, 'f2fbb2371ec27c477359d1201c6eff5bca3c6ebf96b2ac5dc7918618a9253038', NULL, NULL, '2026-11-29 09:51:46.07722', NULL, '2026-11-29 09:51:47.595725', false, NULL, '{}');
INSERT INTO public.requests (id, request_id, "time", key_id, dialect, endpoint, model, status, finish_reason, prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens, first_token_s, total_s, cost, client, "user", metadata, request_content, answer_content, is_served, batch_id) VALUES ('cmpl-4dd373b0f5af49a197d13172c4e7c4e3', 'cmpl-4dd373b0f5af49a197d13172c4e7c4e3', '2026-11-29 09:51:50.402242', 'key-q8zdtfpl', 'openai', '/completions', 'tiny', 200, 'length', 4, 0, 4, 0, 0.015010093999990204, 0.021456109000155266, 8e-06, 'python-httpx/0.28.1', '', NULL, NULL, NULL, true, '');
INSERT INTO public.requests (id, request_id, "time", key_id, dialect, endpoint, model, status, finish_reason, prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens, first_token_s, total_s, cost, client, "user", metadata, request_content, answer_content, is_served, batch_id) VALUES ('resp_6250ab6d7e874193969a55a5060ae0e8', 'resp_6250ab6d7e874193969a55a5060ae0e8', '2026-11-29 09:51:50.42697', 'key-q8zdtfpl', 'openai', '/responses', 'tiny', 200, 'length', 23, 0, 4, 0, 0.028253616000256443, 0.04738271199994415, 2.7e-05, 'python-httpx/0.28.1', '', NULL, NULL, NULL, true, '');
INSERT INTO public.requests (id, request_id, "time", key_id, dialect, endpoint, model, status, finish_reason, prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens, first_token_s, total_s, cost, client, "user", metadata, request_content, answer_content, is_served, batch_id) VALUES ('cmpl-f284407124214bd891aa40d1b48839ea', 'batch_req_026f1a7695424cac92b008aeca378d8c', '2026-11-29 09:51:50.595815', 'key-q8zdtfpl', 'openai', '/completions', 'tiny', 200, 'length', 4, 0, 4, 0, 0.005032819000007294, 0.0069267990002117585, 4e-06, 'crossette-batch', '', NULL, NULL, NULL, true, 'batch_8cb2ad7642f948358f00e0b9a73b406f');
INSERT INTO public.responses (id, key_id, previous_id, created_at, expires_at, alive_until, input, response) VALUES ('resp_6250ab6d7e874193969a55a5060ae0e8', 'key-q8zdtfpl', NULL, '2026-11-29 09:51:50.433536', '9999-01-01 00:00:00', NULL, '[{"id":"in_6250ab6d7e874193969a55a5060ae0e8_0","type":"message","role":"user","content":[{"type":"input_text","text":"Once"}],"status":"completed"}]', '{"id":"resp_6250ab6d7e874193969a55a5060ae0e8","object":"response","created_at":1795945910,"status":"incomplete","completed_at":null,"error":null,"incomplete_details":{"reason":"max_output_tokens"},"model":"tiny","output":[{"type":"message","id":"msg_6250ab6d7e874193969a55a5060ae0e8_0","status":"incomplete","content":[{"type":"output_text","text":"�\u0012\u0012","annotations":[],"logprobs":[]}],"role":"assistant"}],"usage":{"input_tokens":23,"input_tokens_details":{"cached_tokens":0,"cache_write_tokens":23},"output_tokens":4,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":27},"instructions":null,"previous_response_id":null,"store":true,"background":false,"max_output_tokens":4,"max_tool_calls":null,"parallel_tool_calls":true,"reasoning":{"effort":null,"summary":null},"text":{"format":{"type":"text"},"verbosity":"medium"},"tool_choice":"auto","tools":[],"temperature":1.0,"top_p":1.0,"top_logprobs":0,"presence_penalty":0.0,"frequency_penalty":0.0,"truncation":"disabled","service_tier":"default","metadata":{},"user":null,"safety_identifier":null,"prompt_cache_key":null}');
ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY public.batches
    ADD CONSTRAINT batches_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.days
    ADD CONSTRAINT days_pkey PRIMARY KEY (day, key_id, model);
ALTER TABLE ONLY public.file_parts
    ADD CONSTRAINT file_parts_pkey PRIMARY KEY (file_id, number);
ALTER TABLE ONLY public.files
    ADD CONSTRAINT files_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.keys
    ADD CONSTRAINT keys_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.requests
    ADD CONSTRAINT requests_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.responses
    ADD CONSTRAINT responses_pkey PRIMARY KEY (id);
CREATE INDEX batches_owner ON public.batches USING btree (key_id, created_at);
CREATE INDEX batches_status ON public.batches USING btree (status);
CREATE INDEX files_owner ON public.files USING btree (key_id, created_at);
CREATE INDEX requests_time ON public.requests USING btree ("time");
CREATE INDEX responses_expiry ON public.responses USING btree (expires_at);
CREATE INDEX responses_owner ON public.responses USING btree (key_id, created_at);
