-- The shop's catalogue as its own web pages read it: made-up products, prices and a full text search.
BEGIN;

CREATE TABLE products (
	id      INTEGER PRIMARY KEY,
	sku     TEXT NOT NULL UNIQUE,
	name    TEXT NOT NULL,
	text    TEXT NOT NULL,
	photo   BLOB,
	visible INTEGER NOT NULL DEFAULT 1,
	letters INTEGER GENERATED ALWAYS AS (length(name)) STORED
);

-- Its key is all the order that it has.
CREATE TABLE prices (
	sku      TEXT NOT NULL,
	currency TEXT NOT NULL CHECK (length(currency) = 3),
	cents    INTEGER NOT NULL,
	PRIMARY KEY (sku, currency)
) WITHOUT ROWID;

CREATE VIRTUAL TABLE search USING fts5 (name, text, content = 'products', content_rowid = 'id', tokenize = 'unicode61 remove_diacritics 2');

CREATE TRIGGER products_added AFTER INSERT ON products BEGIN
	INSERT INTO search (rowid, name, text) VALUES (NEW.id, NEW.name, NEW.text);
END;
CREATE TRIGGER products_removed AFTER DELETE ON products BEGIN
	INSERT INTO search (search, rowid, name, text) VALUES ('delete', OLD.id, OLD.name, OLD.text);
END;

WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 6000)
INSERT INTO products (sku, name, text, photo)
SELECT printf('SKU-%05d', i),
	CASE i % 6 WHEN 0 THEN 'Quiet' WHEN 1 THEN 'Crème' WHEN 2 THEN 'Folding' WHEN 3 THEN 'Żółty' WHEN 4 THEN '静かな' ELSE 'Tiny' END || ' ' ||
	CASE i % 5 WHEN 0 THEN 'lamp' WHEN 1 THEN 'kettle ☕️' WHEN 2 THEN 'umbrella' WHEN 3 THEN 'teapot 🫖' ELSE 'bicycle bell' END,
	'Number ' || i || ' of our catalogue: "good as new", it''s said; DROP TABLE products; --' || char(10) || hex(i * 7919),
	CASE WHEN i % 20 = 0 THEN CAST(x'00ff0a' || CAST(hex(i * 7919) AS BLOB) AS BLOB) END
FROM n;

WITH money (currency, rate) AS (VALUES ('EUR', 100), ('PLN', 431), ('JPY', 162))
INSERT INTO prices SELECT sku, currency, (200 + id * 7919 % 48000) * rate / 100 FROM products, money;

DELETE FROM products WHERE id % 500 = 0;

CREATE INDEX hidden ON products (sku) WHERE visible = 0;
CREATE VIEW cheapest AS SELECT p.name, r.cents FROM products p JOIN prices r ON r.sku = p.sku AND r.currency = 'EUR' ORDER BY r.cents LIMIT 10;
PRAGMA user_version = 7;

COMMIT;
