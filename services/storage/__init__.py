"""Files that are too big for rows: a folder on one machine, a Supabase Storage bucket in production.

key = get_storage().put(stream, merchant_id=…, name="feed.csv")
with get_storage().open(key, merchant_id=…) as stream: …
"""

from services.storage.base import FileMissing, FileTooLarge, Storage, StorageAway, StorageNotConfigured
from services.storage.choose import get_storage

__all__ = ["FileMissing", "FileTooLarge", "Storage", "StorageAway", "StorageNotConfigured", "get_storage"]
