// Entities by calls, for want of a compiler: what the decorators of TypeORM do.
const { Entity, PrimaryColumn, Column } = require("typeorm");

// PostgreSQL gives a bigint as text; every number here fits into a double.
const whole = { type: "bigint", transformer: { to: (value) => value, from: Number } };

function entity(name, key, columns) {
  const type = { [name]: class {
    constructor(values) {
      Object.assign(this, values);
    }
  } }[name];
  PrimaryColumn(key)(type.prototype, "id");
  for (const [column, options] of Object.entries(columns)) Column(options)(type.prototype, column);
  Entity()(type);
  return type;
}

const text = { type: "text" };
exports.Token = entity("Token", text, { owner: { ...text, nullable: true }, since: whole });
exports.Page = entity("Page", text, { runs: { type: "text" } });
exports.Wallet = entity("Wallet", text, { held: whole, staked: whole });
