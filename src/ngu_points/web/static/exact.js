// Exact rationals, "numerator/denominator", to check in the browser that an explanation adds up.

function parse(text) {
  const [numerator, denominator = "1"] = text.split("/");
  return [BigInt(numerator), BigInt(denominator)];
}

/** Whether the rationals `parts` add up to the rational `whole`, to the last digit. */
export function addsUp(parts, whole) {
  const [a, b] = parts.map(parse).reduce(([p, q], [r, s]) => [p * s + r * q, q * s], [0n, 1n]);
  const [c, d] = parse(whole);
  return a * d === c * b;
}
