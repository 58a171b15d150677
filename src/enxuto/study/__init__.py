"""Studies: many networks trained and measured alike, recorded one by one, to go on where they stopped."""

from enxuto.study.records import Records, content_hash

__all__ = ["Records", "content_hash"]
