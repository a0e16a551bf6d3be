CREATE TABLE token (id text PRIMARY KEY, owner text, since bigint NOT NULL);
CREATE TABLE page (id text PRIMARY KEY, runs text NOT NULL);
CREATE TABLE wallet (id text PRIMARY KEY, held bigint NOT NULL, staked bigint NOT NULL);
