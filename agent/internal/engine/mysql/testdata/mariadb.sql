-- What only MariaDB has. It runs after hurting.sql.
CREATE SEQUENCE numbered START WITH 100 INCREMENT BY 10 MAXVALUE 100000 CACHE 5 CYCLE;
CREATE TABLE drawn (id bigint NOT NULL DEFAULT nextval(numbered) PRIMARY KEY, n int) ENGINE=InnoDB;
INSERT INTO drawn (n) VALUES (1), (2);
CREATE TABLE versioned (id int NOT NULL PRIMARY KEY, n int, KEY (n)) ENGINE=InnoDB WITH SYSTEM VERSIONING;
INSERT INTO versioned VALUES (1, 1), (2, 2);
UPDATE versioned SET n = 10 WHERE id = 1;
DELETE FROM versioned WHERE id = 2;
CREATE TABLE periods (id int, s date, e date, PERIOD FOR p (s, e)) ENGINE=InnoDB;
INSERT INTO periods VALUES (1, '2020-01-01', '2021-01-01');
CREATE TABLE addresses (i inet6, u uuid, i4 inet4) ENGINE=InnoDB;
INSERT INTO addresses VALUES ('2001:db8::ff00:42:8329', '123e4567-e89b-12d3-a456-426655440000', '10.0.0.1');
CREATE TABLE squeezed (v varchar(1000) COMPRESSED, n int, KEY k (n) IGNORED) ENGINE=InnoDB;
INSERT INTO squeezed VALUES (repeat('x', 900), 1);
DELIMITER //
SET sql_mode = ORACLE //
CREATE PACKAGE pack AS FUNCTION f RETURN int; PROCEDURE p; END //
CREATE PACKAGE BODY pack AS
  FUNCTION f RETURN int AS BEGIN RETURN 1; END;
  PROCEDURE p AS BEGIN SELECT "pack"; END;
END //
SET sql_mode = '' //
DELIMITER ;
