"""The jobs of this domain."""

from uuid import UUID

from services.jobs import Job


class ImportCsvProducts(Job, kind="import_csv_products", queue="import", timeout=3600):
    """Bring a feed of any format into the catalogue. Every attempt goes on where the one before it ended."""

    import_id: UUID


class RemoveFeed(Job, kind="remove_feed", queue="import", timeout=300):
    """Remove the file of an import when its time is over. Enqueued together with the import."""

    import_id: UUID


class ImportXmlFeed(Job, kind="import_xml_feed", queue="import", timeout=3600):
    """The same, of an upload that is plainly XML: to be told from tables in lists of jobs."""

    import_id: UUID
