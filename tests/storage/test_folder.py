"""Files in a folder: whole or not at all, and never outside it."""

import io
import uuid
from pathlib import Path

import pytest

from services.storage import FileMissing, StorageAway, StorageNotConfigured, get_storage
from services.storage.bucket import BucketStorage
from services.storage.choose import storage_of
from services.storage.folder import FolderStorage


@pytest.fixture
def folder(tmp_path):
    """Where the files go."""
    return tmp_path / "files"


@pytest.fixture
def storage(folder):
    """A storage in it."""
    return FolderStorage(folder)


def read(storage: FolderStorage, key: str, merchant: uuid.UUID) -> bytes:
    """The whole file."""
    with storage.open(key, merchant_id=merchant) as stream:
        return stream.read()


def test_a_file_comes_back_and_goes(storage):
    merchant = uuid.uuid4()
    key = storage.put(io.BytesIO(b"a,b\n" * 100_000), merchant_id=merchant, name="feed.csv")
    assert key.startswith(f"{merchant}/")
    assert key.endswith("-feed.csv")
    with storage.open(key, merchant_id=merchant) as stream:
        assert stream.read(4) == b"a,b\n"
        stream.seek(0)
        assert len(stream.read()) == 400_000
    storage.delete(key, merchant_id=merchant)
    storage.delete(key, merchant_id=merchant)
    with pytest.raises(FileMissing):
        storage.open(key, merchant_id=merchant)


def test_the_same_name_twice_is_two_files(storage):
    merchant = uuid.uuid4()
    keys = [storage.put(io.BytesIO(text), merchant_id=merchant, name="x") for text in (b"1", b"2")]
    assert [read(storage, key, merchant) for key in keys] == [b"1", b"2"]


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "..\\..\\x", "/abs/olute", "", ".", "..", "a\x00b", "ü/ß.csv", "x" * 999]
)
def test_names_never_lead_out_of_the_folder(storage, folder, name):
    merchant = uuid.uuid4()
    key = storage.put(io.BytesIO(b"x"), merchant_id=merchant, name=name)
    inside = [path for path in folder.rglob("*") if path.is_file()]
    assert [path.parent for path in inside] == [folder / str(merchant)]
    assert read(storage, key, merchant) == b"x"


def test_keys_of_others_and_invented_keys_are_missing(storage, folder):
    mine, theirs = uuid.uuid4(), uuid.uuid4()
    key = storage.put(io.BytesIO(b"secret"), merchant_id=theirs, name="x.csv")
    (folder / "outside.txt").write_text("secret")
    invented = (
        f"{mine}/../{key}",
        "../outside.txt",
        f"{mine}/../outside.txt",
        "/etc/passwd",
        "",
        key + "/x",
        key + "\n",
    )
    for wrong in (key, *invented):
        for act in (storage.open, storage.delete):
            with pytest.raises(FileMissing):
                act(wrong, merchant_id=mine)
    with pytest.raises(FileMissing):
        storage.open(f"{mine}/{uuid.uuid4()}-x.csv", merchant_id=mine)
    assert read(storage, key, theirs) == b"secret"


def test_an_upload_that_breaks_leaves_nothing(storage, folder):
    class Breaks(io.RawIOBase):
        def __init__(self):
            self.left = 3

        def read(self, size=-1):
            self.left -= 1
            if self.left == 0:
                raise ConnectionResetError
            return b"x" * 1000

    with pytest.raises((StorageAway, ConnectionResetError)):
        storage.put(Breaks(), merchant_id=uuid.uuid4(), name="x")
    assert not [path for path in folder.rglob("*") if path.is_file()]


def test_a_folder_that_cannot_be_written_is_away(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StorageAway):
        FolderStorage(tmp_path / "file").put(io.BytesIO(b"x"), merchant_id=uuid.uuid4(), name="x")


def test_the_settings_choose(settings):
    from pydantic import SecretStr

    assert isinstance(get_storage(), FolderStorage)
    without = settings.model_copy(update={"storage_folder": None})
    with pytest.raises(StorageNotConfigured, match="STORAGE_FOLDER"):
        storage_of(without)
    supabase = {"supabase_url": "https://x.supabase.co", "supabase_service_role_key": SecretStr("sb_secret_x")}
    assert isinstance(storage_of(without.model_copy(update=supabase)), BucketStorage)
    assert Path(settings.storage_folder).is_absolute()
