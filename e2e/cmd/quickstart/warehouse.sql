-- The shop's warehouse: made-up articles, shelves and movements of goods. Every quickstart shows the same one.
SET NAMES utf8mb4;

CREATE TABLE shelves (
	id    INT AUTO_INCREMENT PRIMARY KEY,
	label VARCHAR(20) NOT NULL UNIQUE,
	place POINT NOT NULL,
	SPATIAL KEY (place)
);

CREATE TABLE articles (
	sku        CHAR(9) PRIMARY KEY,
	name       VARCHAR(120) NOT NULL,
	price      DECIMAL(10,2) NOT NULL CHECK (price > 0),
	gross      DECIMAL(10,2) AS (ROUND(price * 1.19, 2)) STORED,
	sizes      SET('S', 'M', 'L', 'XL') NOT NULL DEFAULT '',
	attributes JSON NOT NULL,
	label      BLOB,
	FULLTEXT KEY (name)
) COMMENT 'What lies on the shelves 📦';

CREATE TABLE stock (
	shelf  INT NOT NULL,
	sku    CHAR(9) NOT NULL,
	pieces INT NOT NULL,
	PRIMARY KEY (shelf, sku),
	FOREIGN KEY (shelf) REFERENCES shelves (id),
	FOREIGN KEY (sku) REFERENCES articles (sku)
);

CREATE TABLE movements (
	id       BIGINT AUTO_INCREMENT PRIMARY KEY,
	shelf    INT NOT NULL,
	sku      CHAR(9) NOT NULL,
	pieces   INT NOT NULL,
	moved_at DATETIME(3) NOT NULL,
	note     VARCHAR(200),
	KEY by_time (moved_at)
);

CREATE TABLE complaints (
	id   INT AUTO_INCREMENT PRIMARY KEY,
	text VARCHAR(200) NOT NULL
) AUTO_INCREMENT = 1000;

DELIMITER //

-- Both run before a row is written, in this order.
CREATE TRIGGER movements_cleaned BEFORE INSERT ON movements FOR EACH ROW
BEGIN
	SET NEW.note = NULLIF(TRIM(NEW.note), '');
END//
CREATE TRIGGER movements_checked BEFORE INSERT ON movements FOR EACH ROW FOLLOWS movements_cleaned
BEGIN
	IF NEW.pieces = 0 THEN
		INSERT INTO complaints (text) VALUES (CONCAT('nothing was moved: "', COALESCE(NEW.note, '–'), '"; shelf ', NEW.shelf));
	END IF;
END//
CREATE TRIGGER movements_counted AFTER INSERT ON movements FOR EACH ROW
	INSERT INTO stock (shelf, sku, pieces) VALUES (NEW.shelf, NEW.sku, NEW.pieces) ON DUPLICATE KEY UPDATE pieces = pieces + NEW.pieces//

CREATE FUNCTION pieces_of(wanted CHAR(9)) RETURNS INT READS SQL DATA
	RETURN (SELECT COALESCE(SUM(pieces), 0) FROM stock WHERE sku = wanted)//

CREATE PROCEDURE move(IN what CHAR(9), IN source INT, IN target INT, IN how_many INT)
	COMMENT 'From one shelf to another; it''s all or nothing'
BEGIN
	START TRANSACTION;
	INSERT INTO movements (shelf, sku, pieces, moved_at) VALUES (source, what, -how_many, NOW(3)), (target, what, how_many, NOW(3));
	COMMIT;
END//

CREATE EVENT complaints_forgotten ON SCHEDULE EVERY 1 DAY DISABLE DO DELETE FROM complaints WHERE id < 900//

DELIMITER ;

INSERT INTO shelves (label, place)
SELECT CONCAT(CHAR(65 + seq DIV 20), '-', seq % 20), POINT(seq DIV 20, seq % 20) FROM seq_0_to_199;

INSERT INTO articles (sku, name, price, sizes, attributes, label)
SELECT CONCAT('ART-', LPAD(seq, 5, '0')), CONCAT(ELT(1 + seq % 7, 'Quiet', 'Bright', 'Folding', 'Crème', 'Wasserdichte', 'Żółty', '静かな'), ' ', ELT(1 + seq % 5, 'lamp', 'kettle ☕️', 'umbrella ☂️', 'chair', '茶瓶')),
	1 + (seq * 7919 % 48000) / 100, 1 + seq % 15, JSON_OBJECT('weight_g', 50 + seq * 31 % 9000, 'colours', JSON_ARRAY('red', 'bleu', '緑')),
	IF(seq % 10 = 0, UNHEX(REPEAT(MD5(seq), 40)), NULL)
FROM seq_1_to_1500;

INSERT INTO movements (shelf, sku, pieces, moved_at, note)
SELECT 1 + seq * 37 % 200, CONCAT('ART-', LPAD(1 + seq * 61 % 1500, 5, '0')), CAST(seq * 13 % 41 AS SIGNED) - 8, '2024-01-01' + INTERVAL seq * 53 MINUTE,
	IF(seq % 9 = 0, ELT(1 + seq % 4, ' fell down 😬', 'zurück vom Kunden', '', '棚卸し; DROP TABLE stock; --'), NULL)
FROM seq_1_to_12000;

CREATE VIEW running_out AS
SELECT a.sku, a.name, SUM(s.pieces) AS pieces FROM articles a JOIN stock s ON s.sku = a.sku GROUP BY a.sku, a.name HAVING pieces < 20;
CREATE VIEW running_out_soonest AS SELECT * FROM running_out ORDER BY pieces LIMIT 10;
