"""A model of DynamoDB in memory that counts and scales as AWS says it does.

It answers the calls that `ngu_points.aws.dynamo` makes. What a call costs is computed by AWS's
rules (write units of 1 KB, read units of 4 KB, index entries only if they change, failed conditions
too, transactions twice), and with a clock it throttles: each partition key, on-demand tables beyond
twice their previous peak, and a table's maximum. Nothing of it is measured: it is a model.
"""
