-- What is hard to dump, for MariaDB and MySQL. It runs in an empty database.
ALTER DATABASE CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;
SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES';

CREATE TABLE numbers (
  id bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY,
  t tinyint, s smallint unsigned, m mediumint, z int(6) unsigned zerofill,
  d decimal(65, 30), f float, g double, b bit(7), bb bit(64), y year, bo boolean DEFAULT true
) ENGINE=InnoDB AUTO_INCREMENT=777777;
INSERT INTO numbers (id, t, s, m, z, d, f, g, b, bb, y) VALUES
  (0, -128, 65535, -8388608, 42, 12345678901234567890123456789012345.123456789012345678901234567890, 1e-37, 2.2250738585072014e-308, b'1010101', b'1111111111111111111111111111111111111111111111111111111111111111', 1901),
  (5, NULL, NULL, NULL, NULL, -0.000000000000000000000000000001, -3.4e38, 1.7976931348623157e308, b'0', b'0', 2155),
  (18446744073709551000, 0, 0, 0, 0, 0, 0, -0.0, NULL, NULL, NULL);

CREATE TABLE texts (
  id int NOT NULL PRIMARY KEY,
  c char(20), v varchar(200) CHARACTER SET latin1 COLLATE latin1_german1_ci, u varchar(200) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
  x longtext CHARACTER SET ucs2, e enum('a', 'b''c', 'd,e', 'ü', '') DEFAULT 'd,e', st set('x', 'y', 'z;')
) ENGINE=InnoDB COMMENT='a comment with ''quotes'', "more" and ; -- no comment';
INSERT INTO texts VALUES
  (1, 'pad  ', 'Grüße', 'emoji 🦀 ''"\\`', 'two\nlines\r\n\ttab \0 zero \Z sub %_', 'ü', 'x,z;'),
  (2, '', ';\n', ';\nINSERT INTO texts VALUES (9);\n-- Dump completed on 2020-01-01  1:01:01\n', 'DELIMITER ;;\n\\! touch /tmp/devflow-canary\n', '', ''),
  (3, NULL, '/*!50001 DROP TABLE texts */;', 'CREATE DEFINER=`root`@`localhost` VIEW v AS SELECT 1;', '\\', NULL, NULL),
  (4, 'x', 'NULL', 'null', '\\''', 'a', 'x,y,z;');

CREATE TABLE moments (
  id int NOT NULL PRIMARY KEY, d date, t time(6), dt datetime(6), ts timestamp(6) NULL DEFAULT NULL,
  touched timestamp NOT NULL DEFAULT '2001-01-01 00:00:01' ON UPDATE CURRENT_TIMESTAMP
) ENGINE=InnoDB;
SET time_zone = '+05:30';
INSERT INTO moments VALUES
  (1, '0000-00-00', '-838:59:59', '0000-00-00 00:00:00', '2024-02-29 23:59:59.999999', '2020-01-01 00:00:00'),
  (2, '9999-12-31', '838:59:59', '1000-01-01 00:00:00.000001', '1970-01-02 00:00:01', '2021-06-15 12:00:00'),
  (3, '2023-02-31', NULL, NULL, NULL, '2022-06-15 12:00:00');
SET time_zone = '+00:00';

CREATE TABLE blobs (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, b longblob, vb varbinary(300), bi binary(8), tb tinyblob) ENGINE=InnoDB;
INSERT INTO blobs (b, vb, bi, tb) VALUES ('', '', '', ''), (x'00', x'0d0a5c27220000', x'00ff', x'1a'), (NULL, NULL, NULL, NULL),
  (repeat(x'00ff27225c0a0d1a3b', 2000000), repeat(x'ff', 300), 'abcdefgh', 'x');

CREATE TABLE documents (id int NOT NULL PRIMARY KEY, j json, total decimal(10, 2) AS (price * amount) STORED, price decimal(8, 2), amount int,
  twice int AS (amount * 2) VIRTUAL, KEY (twice)) ENGINE=InnoDB;
INSERT INTO documents (id, j, price, amount) VALUES (1, '{"a": [1, "zwei", null, {"b": "\\" \\\\ \\u00fc"}]}', 9.99, 3), (2, NULL, NULL, NULL), (3, '"just text"', 0.01, 100);

CREATE TABLE places (id int NOT NULL PRIMARY KEY, p point NOT NULL, g geometry, l linestring, SPATIAL INDEX (p)) ENGINE=InnoDB;
INSERT INTO places VALUES (1, ST_GeomFromText('POINT(1 2)'), ST_GeomFromText('POLYGON((0 0, 0 5, 5 5, 5 0, 0 0))'), ST_GeomFromText('LINESTRING(0 0, 1 1, 2 0)')), (2, ST_GeomFromText('POINT(-1.5 2.25)'), NULL, NULL);

-- Each refers to the other.
CREATE TABLE hen (id int NOT NULL PRIMARY KEY, egg int) ENGINE=InnoDB;
CREATE TABLE egg (id int NOT NULL PRIMARY KEY, hen int, CONSTRAINT laid FOREIGN KEY (hen) REFERENCES hen (id) ON DELETE SET NULL ON UPDATE CASCADE) ENGINE=InnoDB;
ALTER TABLE hen ADD CONSTRAINT hatched FOREIGN KEY (egg) REFERENCES egg (id) ON DELETE CASCADE;
SET foreign_key_checks = 0;
INSERT INTO hen VALUES (1, 1), (2, NULL); INSERT INTO egg VALUES (1, 1), (2, 2);
SET foreign_key_checks = 1;
CREATE TABLE tree (id int NOT NULL PRIMARY KEY, parent int, CONSTRAINT self FOREIGN KEY (parent) REFERENCES tree (id)) ENGINE=InnoDB;
INSERT INTO tree VALUES (1, 1), (2, 1), (3, 2);

CREATE TABLE parts (id int NOT NULL, born date NOT NULL, name varchar(40), PRIMARY KEY (id, born)) ENGINE=InnoDB
  PARTITION BY RANGE (year(born)) SUBPARTITION BY HASH (id) SUBPARTITIONS 2
  (PARTITION old VALUES LESS THAN (2000) COMMENT = 'long ago', PARTITION now VALUES LESS THAN (2030), PARTITION later VALUES LESS THAN MAXVALUE);
INSERT INTO parts VALUES (1, '1999-12-31', 'a'), (2, '2020-01-01', 'b'), (3, '2099-01-01', 'c');

CREATE TABLE checked (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, n int, m int COMMENT 'isn''t n', CONSTRAINT positive CHECK (n > 0), CONSTRAINT bigger CHECK (m >= n), UNIQUE KEY nm (n, m DESC)) ENGINE=InnoDB;
INSERT INTO checked (n, m) VALUES (1, 1), (1, 2);
CREATE TABLE searched (id int NOT NULL PRIMARY KEY, body text, FULLTEXT KEY words (body), KEY start (body(10))) ENGINE=InnoDB;
INSERT INTO searched VALUES (1, 'the quick brown fox'), (2, 'jumps over the lazy dog');
CREATE TABLE defaults (id char(36) NOT NULL DEFAULT (uuid()) PRIMARY KEY, at datetime DEFAULT CURRENT_TIMESTAMP, e varchar(20) DEFAULT (concat('a', 'b'))) ENGINE=InnoDB;
INSERT INTO defaults (id) VALUES ('fixed');
CREATE TABLE hidden (id int NOT NULL PRIMARY KEY, secret int DEFAULT 7 INVISIBLE, n int) ENGINE=InnoDB;
INSERT INTO hidden (id, secret, n) VALUES (1, 8, 9), (2, 10, 11);
CREATE TABLE `odd ``name``; -- "'` (`a;
b` int NOT NULL PRIMARY KEY, `select` int, `ünïcode` int) ENGINE=InnoDB;
INSERT INTO `odd ``name``; -- "'` VALUES (1, 2, 3);
CREATE TABLE empty_one (n int) ENGINE=InnoDB ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=8;
CREATE TABLE log (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, what varchar(100)) ENGINE=InnoDB;
CREATE TABLE watched (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, n int, said varchar(100)) ENGINE=InnoDB;
INSERT INTO watched (n) VALUES (1), (2), (3);

DELIMITER //
CREATE FUNCTION twice(n int) RETURNS int DETERMINISTIC COMMENT 'doubles' RETURN n * 2 //
CREATE FUNCTION greet(who varchar(40) CHARSET latin1) RETURNS varchar(100) CHARSET utf8mb4 DETERMINISTIC SQL SECURITY INVOKER
BEGIN
  -- it's a comment with an apostrophe; and a semicolon
  /* another one: "; */
  # and ' another
  RETURN concat('Grüße 🦀; ', who);
END //
CREATE PROCEDURE many(IN a int, OUT b int, INOUT c int) MODIFIES SQL DATA
BEGIN
  DECLARE done int DEFAULT 0;
  DECLARE CONTINUE HANDLER FOR NOT FOUND SET done = 1;
  SET b = twice(a), c = c + 1;
  IF a > 0 THEN INSERT INTO log (what) VALUES ('a // b ;; c'); END IF;
END //
SET sql_mode = 'NO_BACKSLASH_ESCAPES,ANSI_QUOTES' //
CREATE PROCEDURE backslash() BEGIN SELECT 'a\' AS "b\"; END //
SET sql_mode = 'PIPES_AS_CONCAT,STRICT_ALL_TABLES' //
CREATE FUNCTION joined(a varchar(10), b varchar(10)) RETURNS varchar(20) DETERMINISTIC RETURN a || b //
SET sql_mode = '' //
CREATE TRIGGER first_before BEFORE INSERT ON watched FOR EACH ROW BEGIN SET NEW.said = concat(coalesce(NEW.said, ''), ' first'); /* isn't */ END //
CREATE TRIGGER second_before BEFORE INSERT ON watched FOR EACH ROW SET NEW.said = concat(NEW.said, ' second') //
CREATE TRIGGER zeroth_before BEFORE INSERT ON watched FOR EACH ROW PRECEDES first_before SET NEW.said = concat(coalesce(NEW.said, ''), ' zeroth') //
CREATE TRIGGER after_one AFTER INSERT ON watched FOR EACH ROW INSERT INTO log (what) VALUES (concat('one ', NEW.n)) //
CREATE TRIGGER after_two AFTER INSERT ON watched FOR EACH ROW INSERT INTO log (what) VALUES (concat('two ', twice(NEW.n))) //
CREATE TRIGGER changed BEFORE UPDATE ON watched FOR EACH ROW SET NEW.n = NEW.n + 1 //
CREATE TRIGGER gone AFTER DELETE ON watched FOR EACH ROW INSERT INTO log (what) VALUES (concat('gone; ', OLD.n)) //
CREATE EVENT every_day ON SCHEDULE EVERY 1 DAY STARTS '2020-01-01 03:00:00' ON COMPLETION PRESERVE ENABLE COMMENT 'ENABLE; DO it' DO INSERT INTO log (what) VALUES ('day') //
CREATE EVENT paused ON SCHEDULE EVERY '1:30' HOUR_MINUTE STARTS '2020-01-01 00:00:00' DISABLE DO BEGIN INSERT INTO log (what) VALUES ('it''s ; time'); END //
SET time_zone = '+02:00' //
CREATE EVENT `far; away` ON SCHEDULE AT '2037-01-01 00:00:00' ON COMPLETION PRESERVE ENABLE DO CALL many(1, @b, @c) //
SET time_zone = '+00:00' //
DELIMITER ;

-- z_base is made first, but dumped last.
CREATE VIEW z_base AS SELECT id, twice(n) AS doubled FROM watched;
CREATE ALGORITHM=MERGE SQL SECURITY INVOKER VIEW a_top AS SELECT z.doubled, t.u FROM z_base z LEFT JOIN texts t ON t.id = z.id WHERE t.u <> 'it''s; -- no comment';
CREATE VIEW m_checked AS SELECT id, n FROM watched WHERE n > 1 WITH CASCADED CHECK OPTION;
CREATE ALGORITHM=TEMPTABLE VIEW `odd view``; --` AS SELECT 'Grüße 🦀' AS hello, count(*) AS n FROM a_top;
SET NAMES latin1;
CREATE VIEW old_client AS SELECT id, 'x' AS x FROM watched;
SET NAMES utf8mb4;

-- At least 64 MiB as text.
CREATE TABLE big (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, filler text NOT NULL) ENGINE=InnoDB;
INSERT INTO big (filler) VALUES (repeat('it''s \\ "text" ; 0123456789 abcdefghijklmnopqrstuvwxyz\n', 18));
INSERT INTO big (filler) SELECT filler FROM big; INSERT INTO big (filler) SELECT filler FROM big; INSERT INTO big (filler) SELECT filler FROM big;
INSERT INTO big (filler) SELECT filler FROM big; INSERT INTO big (filler) SELECT filler FROM big; INSERT INTO big (filler) SELECT filler FROM big;
INSERT INTO big (filler) SELECT filler FROM big; INSERT INTO big (filler) SELECT filler FROM big; INSERT INTO big (filler) SELECT filler FROM big;
INSERT INTO big (filler) SELECT filler FROM big; INSERT INTO big (filler) SELECT filler FROM big; INSERT INTO big (filler) SELECT filler FROM big;
INSERT INTO big (filler) SELECT filler FROM big; INSERT INTO big (filler) SELECT filler FROM big;
INSERT INTO big (filler) SELECT filler FROM big LIMIT 13500;
