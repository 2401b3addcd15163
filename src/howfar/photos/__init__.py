"""Photographs in, protected photographs out."""

from howfar.photos.encoding import Encoding
from howfar.photos.folder import protect_folder
from howfar.photos.listing import Photo, arranged, labels_by_table, photographs, photos_in
from howfar.photos.manifest import checked, originals_of
from howfar.photos.order import Order, check

__all__ = [
    "Encoding", "Order", "Photo", "arranged", "check", "checked", "labels_by_table",
    "originals_of", "photographs", "photos_in", "protect_folder",
]  # fmt: skip
