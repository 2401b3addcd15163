"""Photographs in, protected photographs out."""

from howfar.photos.encoding import Encoding
from howfar.photos.folder import protect_folder
from howfar.photos.job import ProtectionJob, check
from howfar.photos.listing import Photo, arranged, labels_by_table, photographs, photos_in
from howfar.photos.manifest import checked, originals_of
from howfar.photos.one import protect_image, protected_file

__all__ = [
    "Encoding",
    "Photo",
    "ProtectionJob",
    "arranged",
    "check",
    "checked",
    "labels_by_table",
    "originals_of",
    "photographs",
    "photos_in",
    "protect_folder",
    "protect_image",
    "protected_file",
]  # fmt: skip
