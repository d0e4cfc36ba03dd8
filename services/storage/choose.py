"""Which storage the settings ask for."""

from functools import cache
from pathlib import Path

from services.core.settings import Settings, get_settings
from services.storage.base import Storage, StorageNotConfigured
from services.storage.folder import FolderStorage


@cache
def get_storage() -> Storage:
    """The process's storage. Raises StorageNotConfigured."""
    return storage_of(get_settings())


def storage_of(settings: Settings) -> Storage:
    """The folder when there is one, else the Supabase bucket. Raises StorageNotConfigured."""
    if settings.storage_folder:
        return FolderStorage(Path(settings.storage_folder).absolute())
    if settings.supabase_url and settings.supabase_service_role_key:
        from services.storage.bucket import BucketStorage  # what it needs costs each process 4 MB

        return BucketStorage(
            url=settings.supabase_url,
            key=settings.supabase_service_role_key.get_secret_value(),
            bucket=settings.storage_bucket,
        )
    raise StorageNotConfigured
