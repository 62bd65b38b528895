-- A small web shop: made-up customers, orders, payments and reviews.
-- The numbers are drawn from a fixed seed, so every quickstart shows the same shop.
SET client_min_messages = warning;
SELECT setseed(0.42);

CREATE EXTENSION IF NOT EXISTS pg_trgm;

CREATE TYPE order_status AS ENUM ('new', 'paid', 'packed', 'shipped', 'delivered', 'returned');
CREATE DOMAIN email AS text CHECK (value ~ '^[^@ ]+@[^@ ]+\.[a-z]+$');

CREATE TABLE customers (
	id         integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	name       text NOT NULL,
	email      email NOT NULL UNIQUE,
	city       text NOT NULL,
	joined_at  timestamptz NOT NULL,
	newsletter boolean NOT NULL DEFAULT false
);

CREATE TABLE products (
	id          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	sku         text NOT NULL UNIQUE,
	name        text NOT NULL,
	price       numeric(10,2) NOT NULL CHECK (price > 0),
	tags        text[] NOT NULL,
	attributes  jsonb NOT NULL
);

CREATE TABLE orders (
	id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	customer_id integer NOT NULL REFERENCES customers,
	status      order_status NOT NULL,
	ordered_at  timestamptz NOT NULL,
	note        text,
	changed_at  timestamptz
);

CREATE TABLE order_items (
	order_id   bigint NOT NULL REFERENCES orders ON DELETE CASCADE,
	line       smallint NOT NULL,
	product_id integer NOT NULL REFERENCES products,
	quantity   integer NOT NULL CHECK (quantity > 0),
	unit_price numeric(10,2) NOT NULL,
	total      numeric(12,2) GENERATED ALWAYS AS (quantity * unit_price) STORED,
	PRIMARY KEY (order_id, line)
);

-- Partitioned by year, as payments often are.
CREATE TABLE payments (
	id       bigint GENERATED ALWAYS AS IDENTITY,
	order_id bigint NOT NULL,
	paid_at  timestamptz NOT NULL,
	method   text NOT NULL,
	amount   numeric(12,2) NOT NULL,
	PRIMARY KEY (id, paid_at)
) PARTITION BY RANGE (paid_at);
CREATE TABLE payments_2024 PARTITION OF payments FOR VALUES FROM ('2024-01-01Z') TO ('2025-01-01Z');
CREATE TABLE payments_2025 PARTITION OF payments FOR VALUES FROM ('2025-01-01Z') TO ('2026-01-01Z');
CREATE TABLE payments_rest PARTITION OF payments DEFAULT;

CREATE TABLE reviews (
	id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	product_id  integer NOT NULL REFERENCES products,
	customer_id integer NOT NULL REFERENCES customers,
	stars       smallint NOT NULL CHECK (stars BETWEEN 1 AND 5),
	words       text NOT NULL,
	photo       bytea
);

INSERT INTO customers (name, email, city, joined_at, newsletter)
SELECT first || ' ' || last, lower(translate(first, 'éøüİłñ', 'eouiln')) || '.' || lower(translate(last, 'áöüşłñ''Ø ', 'aousln' || '_O')) || n || '@example.' || tld,
	city, timestamptz '2023-01-01Z' + random() * interval '900 days', random() < 0.3
FROM (SELECT n,
	(ARRAY['Ada','Grace','Linus','Renée','Søren','Jürgen','İpek','Łukasz','Begoña','Wei','Noor','Kofi','Olena','Tomás'])[1 + floor(random() * 14)::int] AS first,
	(ARRAY['Lovelace','Hopper','Müller','Nuñez','Wójcik','Øvrebø','Çelik','Okafor','Tanaka','O''Brien','van Dijk','Novák','Kowalski','Singh'])[1 + floor(random() * 14)::int] AS last,
	(ARRAY['Berlin','Kraków','São Paulo','İzmir','Osaka','Nairobi','Québec','Malmö','Zürich','Kyiv','Dublin','Pune'])[1 + floor(random() * 12)::int] AS city,
	(ARRAY['com','org','net','io'])[1 + floor(random() * 4)::int] AS tld
	FROM generate_series(1, 12000) n) drawn;

INSERT INTO products (sku, name, price, tags, attributes)
SELECT 'SKU-' || lpad(n::text, 5, '0'), adjective || ' ' || thing, round((2 + random() * 480)::numeric, 2),
	ARRAY[thing, lower(adjective)], jsonb_build_object('weight_g', 50 + floor(random() * 9000), 'colour', colour, 'stock', floor(random() * 200))
FROM (SELECT n,
	(ARRAY['Quiet','Bright','Folding','Wooden','Pocket','Waterproof','Silk','Iron','Solar','Tiny'])[1 + floor(random() * 10)::int] AS adjective,
	(ARRAY['lamp','kettle','notebook','umbrella','chair','keyboard','backpack','clock','teapot','bicycle bell'])[1 + floor(random() * 10)::int] AS thing,
	(ARRAY['red','green','blue','black','white','crème'])[1 + floor(random() * 6)::int] AS colour
	FROM generate_series(1, 800) n) drawn;

INSERT INTO orders (customer_id, status, ordered_at, note)
SELECT 1 + floor(random() * 12000)::int, (enum_range(NULL::order_status))[1 + floor(random() * 6)::int], timestamptz '2024-01-01Z' + random() * interval '700 days',
	CASE WHEN random() < 0.1 THEN (ARRAY['Please leave at the door 🚪','Gift wrap 🎁, no invoice','Ring twice — dog 🐕','Livraison après 18 h','配達は午前中に'])[1 + floor(random() * 5)::int] END
FROM generate_series(1, 40000) n;

INSERT INTO order_items (order_id, line, product_id, quantity, unit_price)
SELECT id, line, product, 1 + floor(random() * 4)::int, round((2 + random() * 480)::numeric, 2)
FROM (SELECT o.id, line, 1 + floor(random() * 800)::int AS product FROM orders o, generate_series(1, 1 + (o.id % 3)::int) line) drawn;

INSERT INTO payments (order_id, paid_at, method, amount)
SELECT o.id, o.ordered_at + random() * interval '3 days', (ARRAY['card','transfer','cash','voucher'])[1 + floor(random() * 4)::int], sum(i.total)
FROM orders o JOIN order_items i ON i.order_id = o.id WHERE o.status <> 'new' GROUP BY o.id;

INSERT INTO reviews (product_id, customer_id, stars, words, photo)
SELECT 1 + floor(random() * 800)::int, 1 + floor(random() * 12000)::int, 1 + floor(random() * 5)::int,
	(ARRAY['Love it ❤️','Arrived broken 😡 but the shop replaced it','Très bien 👍','素晴らしい！','Meh 🤷','Best kettle since 1998 ☕️','Zażółć gęślą jaźń','👩‍👩‍👧‍👦 approved',
		'It''s "fine"; DROP TABLE reviews; --'])[1 + floor(random() * 9)::int],
	CASE WHEN n % 10 = 0 THEN decode(repeat(md5(n::text), 40), 'hex') END
FROM generate_series(1, 9000) n;

CREATE INDEX customers_by_name ON customers USING gin (name gin_trgm_ops);
CREATE INDEX orders_by_customer ON orders (customer_id, ordered_at DESC);
CREATE INDEX unpaid ON orders (ordered_at) WHERE status = 'new';
CREATE INDEX payments_by_order ON payments (order_id);

CREATE VIEW best_customers AS
SELECT c.id, c.name, count(DISTINCT o.id) AS orders, sum(i.total) AS spent
FROM customers c JOIN orders o ON o.customer_id = c.id JOIN order_items i ON i.order_id = o.id
GROUP BY c.id ORDER BY spent DESC;

CREATE VIEW open_orders AS SELECT * FROM orders WHERE status IN ('new', 'paid', 'packed');

CREATE MATERIALIZED VIEW monthly_revenue AS
SELECT date_trunc('month', paid_at, 'UTC') AS month, count(*) AS payments, sum(amount) AS revenue FROM payments GROUP BY 1;

CREATE FUNCTION order_total(bigint) RETURNS numeric LANGUAGE sql STABLE AS
$$ SELECT coalesce(sum(total), 0) FROM public.order_items WHERE order_id = $1 $$;

CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS
$body$
BEGIN
	NEW.changed_at := now();
	RETURN NEW;
END
$body$;

CREATE TRIGGER orders_touched BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION touch();

UPDATE orders SET status = 'shipped' WHERE id % 997 = 0;

COMMENT ON TABLE orders IS 'What was ordered 🛒';

-- A catalogue as a large object, as old applications keep documents.
SELECT lo_from_bytea(16400, convert_to(repeat('Spring catalogue 🌷 page ', 20000), 'UTF8'));
GRANT SELECT ON LARGE OBJECT 16400 TO devflow_backup;

ANALYZE;
