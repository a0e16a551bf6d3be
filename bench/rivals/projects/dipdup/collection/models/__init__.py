"""Rows of tokens (erc721), of pages of tokens (ngu) and of wallets, kept in memory too."""

from dipdup import fields
from dipdup.models import CachedModel


class Token(CachedModel):
    id = fields.BigIntField(pk=True)
    owner = fields.TextField(null=True)
    since = fields.BigIntField()

    class Meta:
        maxsize = 1_000_000


class Page(CachedModel):
    id = fields.BigIntField(pk=True)
    runs = fields.JSONField()

    class Meta:
        maxsize = 1_000_000


class Wallet(CachedModel):
    id = fields.CharField(max_length=42, pk=True)
    held = fields.BigIntField(default=0)
    staked = fields.BigIntField(default=0)

    class Meta:
        maxsize = 1_000_000
