"""List the files and folders that a search skips, by name or by content.

Folders that the user names are always searched.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePath

CACHE_TAG = "CACHEDIR.TAG"
CACHE_SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55"
"""First bytes of a valid tag (B. Ford, Cache Directory Tagging Specification, version 0.6)."""
_MARKERS = {
    ".nomedia": "kept out of galleries",  # on Android
    ".immich": "files of Immich",
    ".ppstorage": "files of PhotoPrism",
}
"""Names of files by which programs mark their folders, with a description of each folder."""

_PACKAGES = {
    "a library of Apple Photos": ".photoslibrary",
    "a library of iPhoto": ".photolibrary .migratedphotolibrary",
    "a library of Aperture": ".aplibrary .migratedaplibrary .apvault",
    "previews of Lightroom": ".lrdata",
    "a library of Lightroom": ".lrlibrary .lrcat-data",
    "a catalog of Capture One": ".cocatalog",
    "films of iMovie": ".imovielibrary .imovieproject .rcproject .theater",
    "films of Final Cut": ".fcpbundle .fcpcache .fcarch .fcpxmld",
    "a library of Apple TV or Music": ".tvlibrary .musiclibrary",
    "a library of Eagle": ".library",
    "a database of DEVONthink": ".dtbase2",
    "a project of iDVD": ".dvdproj",
    "a document stored as a folder": ".band .graffle .key .logicx .numbers .pages .rtfd",
    "an unfinished download": ".download",
    "a virtual machine or a disk image": ".backupbundle .pvm .sparsebundle .utm .vmwarevm",
    "a program": ".app .appex .bundle .framework .kext .lrplugin .plugin .xcassets",
}
"""Extensions of folder names, by kind of folder. macOS shows most of these folders as a file."""
_DAMAGED = "remains of a damaged file system"
_NAMES = {
    "a library of iPhoto": ["iphoto library"],  # without an extension before 2011
    "a library of Photo Booth": ["photo booth library"],
    "thumbnails for an iPod": ["ipod photo cache"],
    "a bin": ["$recycle.bin", "recycle.bin", "recycle bin", "recycled", "recycler"],
    "a bin of the system": ["trash", "trashbox", "network recycle bin", "network trash folder"],
    "a bin or old versions of Nextcloud": ["files_trashbin", "files_versions"],
    "originals or previews of ACDSee": ["[originals]", "[developed]"],
    "backups of Time Machine": ["backups.backupdb"],
    "snapshots": ["~snapshot"],  # of NetApp's storage, on Windows
    "a system folder": ["system volume information", "temporary items", "$sysreset", "$winreagent"],
    "files that macOS adds to archives": ["__macosx"],
    _DAMAGED: ["lost+found", "lost.dir"],
}
"""Names of folders in lower case, by the kind of folder."""
_PATTERNS = {
    _DAMAGED: re.compile(r"found\.\d{3}"),  # fragments from a disk check of Windows
    "previews of Nextcloud": re.compile(r"appdata_oc[0-9a-z]{10}"),
}
"""Patterns of folders' names in lower case, by the kind of folder."""
_ON_STORAGE = "thumbnails, a bin or snapshots of network storage"
_STORAGE_MARKS = ("@", "#")
"""First characters of system folders on network storage by Synology, QNAP and others, such as
``@eaDir``, ``@Recycle``, ``#recycle``, ``#snapshot``."""

_REASONS = {ending: reason for reason, text in _PACKAGES.items() for ending in text.split()}
_REASONS_BY_NAME = {name: reason for reason, names in _NAMES.items() for name in names}

_ENDINGS = {
    "films": ".3g2 .3gp .asf .avi .braw .crm .divx .flv .insv .lrv .m2t .m2ts .m2v .m4v .mkv .mov "
    ".mp4 .mpeg .mpg .mts .mxf .ogv .qt .r3d .rm .rmvb .ts .vob .webm .wmv",
    "sound": ".aac .aif .aiff .amr .flac .m4a .mid .mka .mp3 .ogg .opus .wav .wma",
    "text and documents": ".csv .doc .docx .epub .htm .html .ics .log .md .odp .ods .odt .pdf .ppt "
    ".pptx .rtf .srt .tex .txt .vtt .xls .xlsx",
    "archives and images of disks": ".7z .bz2 .cab .dmg .gz .iso .rar .tar .tgz .vdi .vhd .vhdx "
    ".vmdk .xz .zip .zst",
    "databases and catalogs": ".cocatalogdb .cosessiondb .db .db-shm .db-wal .lrcat .mdb .sqlite "
    ".sqlite3",
    "sidecar files of photo programs": ".aae .cos .dop .json .lrprev .plist .pp3 .thm .xml .xmp "
    ".yaml .yml",
    "unfinished files": ".crdownload .download .filepart .opdownload .part .partial .temp .tmp",
    "programs and their parts": ".apk .bat .c .cpp .css .dll .dylib .exe .go .h .ini .java .js "
    ".lnk .msi .php .ps1 .py .rs .sh .so .toml .url",
}
"""Extensions of files that are never photos, by the kind of file."""
NEVER_PHOTOS = frozenset(ending for text in _ENDINGS.values() for ending in text.split())

IN_THE_CLOUD = "its content is in the cloud only, and is not downloaded"
CLOUD_ENDINGS = (".icloud", ".nextcloud", ".owncloud")
"""Extensions of placeholders that sync programs keep for files in the cloud."""


def reason_by_name(folder: str) -> str | None:
    """Return why folders with this name are skipped; ``None`` if they are searched."""
    name = folder.lower()
    if name.startswith(_STORAGE_MARKS):
        return _ON_STORAGE
    for reason, pattern in _PATTERNS.items():
        if pattern.fullmatch(name):
            return reason
    return _REASONS_BY_NAME.get(name) or _REASONS.get(PurePath(name).suffix)


def reason_by_content(folder: str, names: Iterable[str], cache_tag: bytes | None) -> str | None:
    """Return why folders with this content are skipped; ``None`` if they are searched.

    Args:
        folder: Name of the folder.
        names: Names of the files and folders in it.
        cache_tag: First bytes of the file `CACHE_TAG` in it, if there is one.
    """
    if cache_tag is not None and cache_tag.startswith(CACHE_SIGNATURE):
        return f"a cache: it holds {CACHE_TAG}"
    present = {name.lower() for name in names}
    for marker, kind in _MARKERS.items():
        if marker in present:
            return f"{kind}: it holds {marker}"
    if folder.lower() == "captureone" and "cache" in present:
        return "caches of Capture One"
    return None


def cannot_be_photo(file: str) -> bool:
    """Return whether a file's extension rules out that it is a photo.

    Files with any other extension may be photos, which are recognised by their content.
    """
    _, dot, ending = file.lower().rpartition(".")
    return dot + ending in NEVER_PHOTOS


def stands_for_file(name: str) -> str | None:
    """Return the name of the file in the cloud that a placeholder stands for; or ``None``.

    macOS before version 14 wrote ``.photo.jpg.icloud`` for ``photo.jpg``.
    """
    stem = name.lower()
    for ending in CLOUD_ENDINGS:
        if stem.endswith(ending) and stem != ending:
            return stem.removesuffix(ending).removeprefix(".")
    return None
