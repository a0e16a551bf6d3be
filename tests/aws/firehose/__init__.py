"""A simulated Amazon Data Firehose: direct put, an HTTP endpoint as destination, backup in S3.

It behaves as AWS documents it and is as unkind as AWS may be: late, twice, in another order. Time
is virtual; everything random comes from a seed.
"""
