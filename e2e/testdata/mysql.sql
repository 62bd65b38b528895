-- A MariaDB database of a few megabytes with what is easily lost. The administrator runs it in an empty database.
-- Left out is what the plain client cannot load under another name: defaults that name the database.
SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES';
CREATE TABLE numbers (
  id bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY, z int(6) unsigned zerofill, d decimal(65, 30), f float, g double, b bit(7), y year
) ENGINE=InnoDB AUTO_INCREMENT=777777;
INSERT INTO numbers VALUES
  (0, 42, 12345678901234567890123456789012345.123456789012345678901234567890, 1e-37, 2.2250738585072014e-308, b'1010101', 1901),
  (5, NULL, -0.000000000000000000000000000001, -3.4e38, 1.7976931348623157e308, b'0', 2155), (18446744073709551000, 0, 0, 0, -0.0, NULL, NULL);
CREATE TABLE texts (
  id int NOT NULL PRIMARY KEY, v varchar(200) CHARACTER SET latin1 COLLATE latin1_german1_ci, u varchar(200) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
  x longtext CHARACTER SET ucs2, e enum('a', 'b''c', 'd,e', 'ü', '') DEFAULT 'd,e'
) ENGINE=InnoDB COMMENT='a comment with ''quotes'', "more" and ; -- no comment';
INSERT INTO texts VALUES
  (1, 'Grüße', 'emoji 🦀 ''"\\`', 'two\nlines\r\n\ttab \0 zero \Z sub %_', 'ü'),
  (2, ';\n', ';\nINSERT INTO texts VALUES (9);\n-- Dump completed on 2020-01-01  1:01:01\n', 'DELIMITER ;;\n', ''),
  (3, '/*!50001 DROP TABLE texts */;', 'CREATE DEFINER=`root`@`localhost` VIEW v AS SELECT 1;', '\\', NULL);
CREATE TABLE moments (id int NOT NULL PRIMARY KEY, d date, t time(6), dt datetime(6), ts timestamp(6) NULL DEFAULT NULL) ENGINE=InnoDB;
SET time_zone = '+05:30';
INSERT INTO moments VALUES (1, '0000-00-00', '-838:59:59', '0000-00-00 00:00:00', '2024-02-29 23:59:59.999999'), (2, '2023-02-31', NULL, NULL, '1970-01-02 00:00:01');
SET time_zone = '+00:00';
CREATE TABLE blobs (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, b longblob, bi binary(8)) ENGINE=InnoDB;
INSERT INTO blobs (b, bi) VALUES ('', ''), (x'0d0a5c27220000', x'00ff'), (NULL, NULL), (repeat(x'00ff27225c0a0d1a3b', 100000), 'abcdefgh');
CREATE TABLE documents (id int NOT NULL PRIMARY KEY, j json, total decimal(10, 2) AS (price * amount) STORED, price decimal(8, 2), amount int, twice int AS (amount * 2) VIRTUAL, KEY (twice)) ENGINE=InnoDB;
INSERT INTO documents (id, j, price, amount) VALUES (1, '{"a": [1, "zwei", null, {"b": "\\" \\\\ \\u00fc"}]}', 9.99, 3), (2, NULL, NULL, NULL);
CREATE TABLE places (id int NOT NULL PRIMARY KEY, p point NOT NULL, g geometry, SPATIAL INDEX (p)) ENGINE=InnoDB;
INSERT INTO places VALUES (1, ST_GeomFromText('POINT(1 2)'), ST_GeomFromText('POLYGON((0 0, 0 5, 5 5, 5 0, 0 0))')), (2, ST_GeomFromText('POINT(-1.5 2.25)'), NULL);
CREATE TABLE hen (id int NOT NULL PRIMARY KEY, egg int) ENGINE=InnoDB;
CREATE TABLE egg (id int NOT NULL PRIMARY KEY, hen int, CONSTRAINT laid FOREIGN KEY (hen) REFERENCES hen (id) ON DELETE SET NULL ON UPDATE CASCADE) ENGINE=InnoDB;
ALTER TABLE hen ADD CONSTRAINT hatched FOREIGN KEY (egg) REFERENCES egg (id) ON DELETE CASCADE;
SET foreign_key_checks = 0;
INSERT INTO hen VALUES (1, 1), (2, NULL); INSERT INTO egg VALUES (1, 1), (2, 2);
SET foreign_key_checks = 1;
CREATE TABLE parts (id int NOT NULL, born date NOT NULL, PRIMARY KEY (id, born)) ENGINE=InnoDB
  PARTITION BY RANGE (year(born)) (PARTITION old VALUES LESS THAN (2000), PARTITION later VALUES LESS THAN MAXVALUE);
INSERT INTO parts VALUES (1, '1999-12-31'), (2, '2020-01-01');
CREATE TABLE checked (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, n int, m int COMMENT 'isn''t n', CONSTRAINT bigger CHECK (m >= n), UNIQUE KEY nm (n, m)) ENGINE=InnoDB;
INSERT INTO checked (n, m) VALUES (1, 1), (1, 2);
CREATE TABLE `odd ``name``; -- "'` (`a;
b` int NOT NULL PRIMARY KEY, `select` int, `ünïcode` int) ENGINE=InnoDB;
INSERT INTO `odd ``name``; -- "'` VALUES (1, 2, 3);
CREATE TABLE log (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, what varchar(100)) ENGINE=InnoDB;
CREATE TABLE watched (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, n int, said varchar(100)) ENGINE=InnoDB;
INSERT INTO watched (n) VALUES (1), (2), (3);
CREATE TABLE filler (id int NOT NULL PRIMARY KEY, f varchar(400) NOT NULL) ENGINE=InnoDB;
INSERT INTO filler SELECT seq, concat(repeat(md5(seq), 8), ' it''s; \\ "text" 🦀') FROM seq_1_to_6000;
CREATE SEQUENCE numbered START WITH 100 INCREMENT BY 10 MAXVALUE 100000 NOCACHE CYCLE;
SELECT nextval(numbered);

DELIMITER //
CREATE FUNCTION twice(n int) RETURNS int DETERMINISTIC COMMENT 'doubles' RETURN n * 2 //
CREATE PROCEDURE many(IN a int, OUT b int, INOUT c int) MODIFIES SQL DATA
BEGIN
  -- it's a comment with an apostrophe; and a semicolon
  DECLARE CONTINUE HANDLER FOR NOT FOUND SET b = NULL;
  SET b = twice(a), c = c + 1;
  IF a > 0 THEN INSERT INTO log (what) VALUES ('a // b ;; c'); END IF;
END //
SET sql_mode = 'NO_BACKSLASH_ESCAPES,ANSI_QUOTES' //
CREATE PROCEDURE backslash() BEGIN SELECT 'a\' AS "b\"; END //
SET sql_mode = '' //
CREATE TRIGGER first_before BEFORE INSERT ON watched FOR EACH ROW BEGIN SET NEW.said = concat(coalesce(NEW.said, ''), ' first'); /* isn't */ END //
CREATE TRIGGER second_before BEFORE INSERT ON watched FOR EACH ROW SET NEW.said = concat(NEW.said, ' second') //
CREATE TRIGGER zeroth_before BEFORE INSERT ON watched FOR EACH ROW PRECEDES first_before SET NEW.said = concat(coalesce(NEW.said, ''), ' zeroth') //
CREATE TRIGGER after_one AFTER INSERT ON watched FOR EACH ROW INSERT INTO log (what) VALUES (concat('two ', twice(NEW.n))) //
CREATE EVENT every_day ON SCHEDULE EVERY 1 DAY STARTS '2020-01-01 03:00:00' ON COMPLETION PRESERVE ENABLE COMMENT 'ENABLE; DO it' DO INSERT INTO log (what) VALUES ('day') //
CREATE EVENT `far; away` ON SCHEDULE AT '2037-01-01 00:00:00' ON COMPLETION PRESERVE DISABLE DO BEGIN INSERT INTO log (what) VALUES ('it''s ; time'); END //
DELIMITER ;
-- z_base is made first, but dumped last.
CREATE VIEW z_base AS SELECT id, twice(n) AS doubled FROM watched;
CREATE ALGORITHM=MERGE SQL SECURITY INVOKER VIEW a_top AS SELECT z.doubled, t.u FROM z_base z LEFT JOIN texts t ON t.id = z.id WHERE t.u <> 'it''s; -- no comment';
CREATE VIEW m_checked AS SELECT id, n FROM watched WHERE n > 1 WITH CASCADED CHECK OPTION;
