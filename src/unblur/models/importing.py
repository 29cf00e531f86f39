"""Import weights from a user's file, or from a download, into the models folder.

Files are not trusted: their content is never executed, names inside an archive never become paths,
and sizes are limited.
"""

from __future__ import annotations

import errno
import hashlib
import math
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unblur import user_text
from unblur.config import MODELS_VARIABLE, NO_HOME
from unblur.errors import PhotoError, UsageError, WeightsError
from unblur.extras import is_older
from unblur.models.catalog import MODELS, errors_as_weights_errors, installed_path, is_model_name
from unblur.models.published import CONFIGS, load_published, recognise
from unblur.models.tensorflow_checkpoint import LARGEST_INDEX_BYTES, TensorFlowCheckpoint
from unblur.models.weights import (
    CONFIG_KEY,
    LARGEST_FILE_BYTES,
    SOURCE_CHECKSUM_KEY,
    SOURCE_KEY,
    build_network,
    decode_network,
    decode_tensors,
    encode_network,
    read_notes,
    read_weights,
)
from unblur.network.config import SRNConfig
from unblur.network.srn import SRN
from unblur.storage.drafts import FileDraft, make_folder
from unblur.storage.files import is_regular
from unblur.storage.temporaries import sweep

PUBLISHED_STEP = 523000
"""Training step of the checkpoint that the authors' program loads."""
SAFE_TORCH = "2.10"
"""Oldest safe version of PyTorch. A file can attack older versions even with ``weights_only``:
CVE-2025-32434, CVE-2026-24747."""
MOST_CHECKPOINTS = 16
"""Most checkpoints in an archive; the authors' archives have fewer."""
STATE_DICT_KEYS = ("state_dict", "model_state_dict", "params", "model", "network")
"""Keys of the weights in files that contain more than weights."""

_INDEX = re.compile(r"(?P<prefix>(?:.*/)?[^/]*?(?:-(?P<step>\d{1,9}))?)\.index", re.DOTALL)
_SHARD = re.compile(r"\.data-\d{5}-of-\d{5}")
_CHECKPOINT_ENDING = re.compile(r"\.(index|meta|data-\d{5}-of-\d{5})$")


def read_networks(path: Path, wanted: set[str] | None = None) -> dict[str, SRN]:
    """Read the networks in a file of any supported kind.

    Args:
        path: The authors' archive, a TensorFlow checkpoint (its prefix or one of its
            files), a PyTorch state dict, or safetensors.
        wanted: Names of the networks to read from an archive; by default all.

    Returns:
        The networks by their default names.

    Raises:
        WeightsError: If the file has no network, or weights do not fit a network; the message names
            the first difference.
    """
    with errors_as_weights_errors(path):
        if prefix := _checkpoint_prefix(path):
            return {_checkpoint_name(prefix): load_published(prefix)}
        with path.open("rb") as file:
            head = file.read(16)
        if head.startswith(b"PK"):
            return _read_zip(path, wanted)
        if head[8:9] == b"{":
            return {path.stem: _read_safetensors(path)}
        raise ValueError(
            "neither an archive, a TensorFlow checkpoint, a PyTorch file nor safetensors"
        )


def keep(network: SRN, name: str, source: str, checksum: str | None) -> Path:
    """Store a network in the models folder unless it is there already, and read it back.

    Args:
        network: The network; its weights are stored without conversion.
        name: Name of the model, and of its file.
        source: Origin of the network, a file or an address, to record in the header.
        checksum: The sha256 of the origin.

    Returns:
        Path of the weights file.

    Raises:
        UsageError: If the network cannot have this name.
        WeightsError: If another network has the name, or the file cannot be written.
    """
    _check_name(name, network.config)
    path = installed_path(name)
    there = _read_whole(path)
    if there and _same(there, network):
        return path
    if there:
        raise WeightsError(
            f"{path} holds other weights; to make room, run: unblur models remove {name}"
        )
    notes = {SOURCE_KEY: source} | ({SOURCE_CHECKSUM_KEY: checksum} if checksum else {})
    data = encode_network(network, notes=notes)
    prepare_models_folder(path.parent)
    check_room(path.parent, len(data))
    try:
        with FileDraft(path, data) as draft:
            draft.publish(replaces=True)
    except PhotoError as error:
        raise WeightsError(str(error)) from error
    with errors_as_weights_errors(path):
        stored = decode_network(path.read_bytes())
    if not _same(stored, network):
        raise WeightsError(f"{path} differs from the bytes that were written: is the disk failing?")
    return path


def prepare_models_folder(folder: Path) -> None:
    """Make the models folder, and remove what killed runs left in it.

    Raises:
        WeightsError: If the folder cannot be made.
    """
    try:
        make_folder(folder)
    except PhotoError as error:
        reason = "there is no home folder" if NO_HOME in folder.parents else error
        raise WeightsError(f"{reason}; {MODELS_VARIABLE} names another folder") from error
    sweep(folder, trust_locks=False)


def check_room(folder: Path, size: int) -> None:
    """Raise `WeightsError` if the disk has fewer free bytes than ``size``."""
    free = shutil.disk_usage(folder).free
    if free < size:
        raise WeightsError(
            f"not enough space in {folder}: {user_text.size(size, math.ceil)} are needed, "
            f"{user_text.size(free, math.floor)} are free"
        )


def file_checksum(path: Path) -> str | None:
    """Return the sha256 of a file; ``None`` if it is not a regular file."""
    if not is_regular(path):
        return None
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _check_name(name: str, config: SRNConfig) -> None:
    if not is_model_name(name):
        raise UsageError(
            f"{name!r} is not a model name: choose one of letters, digits and . _ - with --name"
        )
    known = MODELS.get(name)
    if known is None:
        return
    if known.is_embedded:
        raise UsageError(f"{name} comes with the program: choose another name with --name")
    if known.config != config:
        raise UsageError(f"{name} is another network: choose another name with --name")


def _read_whole(path: Path) -> SRN | None:
    """Return the network in a weights file; ``None`` if it is missing or damaged."""
    try:
        return decode_network(read_weights(path))
    except (OSError, ValueError):
        return None


def _same(first: SRN, second: SRN) -> bool:
    others = second.state_dict()
    return first.config == second.config and all(
        tensor.dtype == others[name].dtype and torch.equal(tensor, others[name])
        for name, tensor in first.state_dict().items()
    )


def _checkpoint_prefix(path: Path) -> Path | None:
    name = _CHECKPOINT_ENDING.sub("", path.name)
    if not name or not is_regular(path.with_name(f"{name}.index")):
        return None
    return path.with_name(name)


def _checkpoint_name(prefix: Path) -> str:
    """Return a default name: the network's name, or the file's if the network is uncertain."""
    name = recognise(TensorFlowCheckpoint(prefix), str(prefix.absolute()))
    step = prefix.name.rpartition("-")[2]
    is_of_other_training = step.isdecimal() and int(step) != PUBLISHED_STEP
    return prefix.name if name in CONFIGS and is_of_other_training else name


def _read_safetensors(path: Path) -> SRN:
    data = read_weights(path)
    if CONFIG_KEY in read_notes(path):
        return _owned(decode_network(data))
    return _from_state_dict(decode_tensors(data))


def _read_state_dict(path: Path) -> SRN:
    """Read a state dict that ``torch.save`` wrote."""
    if is_older(torch.__version__, SAFE_TORCH):
        raise ValueError(
            f"PyTorch files need PyTorch {SAFE_TORCH} or newer, which reads them safely"
        )
    if path.stat().st_size > LARGEST_FILE_BYTES:
        raise ValueError("too large for the weights of a network")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise any type
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"damaged, or holds more than weights, which is not loaded ({reason})"
        ) from error
    return _from_state_dict(_unwrapped(content))


def _unwrapped(content: Any) -> dict[str, Tensor]:  # noqa: ANN401 (whatever was saved)
    """Return the state dict in the content of a PyTorch file, with the names of `SRN`."""
    weights = content
    if isinstance(content, Mapping):
        weights = next((content[key] for key in STATE_DICT_KEYS if key in content), content)
    if not isinstance(weights, Mapping) or not weights:
        raise ValueError("holds no state dict")
    for name, value in weights.items():
        if not isinstance(name, str) or not _is_plain(value):
            raise ValueError(f"holds no state dict: {name!r} is no plain array")
    # torch.nn.DataParallel adds this prefix.
    prefix = "module." if all(name.startswith("module.") for name in weights) else ""
    return {name.removeprefix(prefix): value.detach() for name, value in weights.items()}


def _is_plain(value: object) -> bool:
    return (
        type(value) in (Tensor, torch.nn.Parameter)
        and isinstance(value, Tensor)
        and value.layout is torch.strided
        and value.device.type == "cpu"
        and not value.is_nested
        and not value.is_quantized
    )


def _from_state_dict(weights: dict[str, Tensor]) -> SRN:
    """Build the network of the catalog that fits weights without a configuration."""
    if "output.weight" not in weights:
        raise ValueError("not the weights of this network: output.weight is missing")
    channels = tuple(weights["output.weight"].shape[:1])
    recurrent = "lstm.gates.weight" in weights
    for model in MODELS.values():
        config = model.config
        if ((config.channels * config.unshuffle**2,), config.recurrent) == (channels, recurrent):
            return _owned(build_network(config, weights))
    raise ValueError(
        f"not the weights of a known network: output.weight has shape "
        f"{tuple(weights['output.weight'].shape)}, with{'' if recurrent else 'out'} LSTM"
    )


def _owned(network: SRN) -> SRN:
    """Copy a network's weights, because arrays read from a file may share memory."""
    copies = {
        name: tensor.float() if tensor.dtype is torch.float64 else tensor.clone()
        for name, tensor in network.state_dict().items()
    }
    network.load_state_dict(copies, assign=True)
    return network.requires_grad_(False)


@dataclass(frozen=True)
class _Checkpoint:
    """The members of an archive that make up a TensorFlow checkpoint."""

    prefix: str
    step: int
    index: zipfile.ZipInfo
    shards: dict[str, zipfile.ZipInfo]
    """Members by the extension of their names."""


def _read_zip(path: Path, wanted: set[str] | None) -> dict[str, SRN]:
    """Read a PyTorch file or an archive of checkpoints."""
    try:
        archive = zipfile.ZipFile(path)
    except _ZIP_ERRORS as error:
        raise ValueError(f"a damaged or incomplete archive ({error})") from error
    with archive:
        names = [name.rpartition("/")[2] for name in archive.namelist()]
        if "data.pkl" not in names:
            return _read_archive(archive, wanted)
    return {path.stem: _read_state_dict(path)}


_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError)
"""Errors of `zipfile`, besides `OSError`, for damaged, encrypted or unsupported archives."""


def _read_archive(archive: zipfile.ZipFile, wanted: set[str] | None) -> dict[str, SRN]:
    """Read the published networks of an archive, each from the checkpoint that the authors load."""
    checkpoints = _list_checkpoints(archive)
    if not 1 <= len(checkpoints) <= MOST_CHECKPOINTS:
        raise ValueError(f"holds {len(checkpoints) or 'no'} TensorFlow checkpoints")
    found: dict[str, SRN] = {}
    for checkpoint in checkpoints:
        if wanted is not None and wanted <= found.keys():
            break
        with tempfile.TemporaryDirectory(prefix="unblur-") as folder:
            prefix = Path(folder) / "checkpoint"
            try:
                _copy(archive, checkpoint.index, Path(f"{prefix}.index"), LARGEST_INDEX_BYTES)
                name = recognise(TensorFlowCheckpoint(prefix), checkpoint.prefix)
                if name in found or (wanted is not None and name not in wanted):
                    continue
                for ending, member in checkpoint.shards.items():
                    _copy(archive, member, Path(f"{prefix}{ending}"), LARGEST_FILE_BYTES)
                found[name] = load_published(prefix)
            except WeightsError as error:
                reason = str(error).replace(str(prefix), checkpoint.prefix)
                raise ValueError(reason) from error
    return found


def _list_checkpoints(archive: zipfile.ZipFile) -> list[_Checkpoint]:
    """Return the checkpoints of an archive, in order of preference."""
    members = {member.filename.replace("\\", "/"): member for member in archive.infolist()}
    checkpoints = []
    for name, member in members.items():
        match = _INDEX.fullmatch(name)
        if not match or name.rpartition("/")[2].startswith("._"):  # macOS adds such files
            continue
        prefix = match["prefix"]
        shards = {
            other.removeprefix(prefix): shard
            for other, shard in members.items()
            if other.startswith(prefix) and _SHARD.fullmatch(other.removeprefix(prefix))
        }
        checkpoints.append(_Checkpoint(prefix, int(match["step"] or 0), member, shards))
    return sorted(checkpoints, key=lambda c: (c.step != PUBLISHED_STEP, -c.step, c.prefix))


def _copy(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, most: int) -> None:
    """Unpack a member of an archive to a file of at most ``most`` bytes."""
    check_room(target.parent, min(member.file_size, most))
    left = most
    try:
        with archive.open(member) as source, target.open("xb") as file:
            while chunk := source.read(1 << 20):
                left -= len(chunk)
                if left < 0:
                    raise ValueError(f"{member.filename} is too large for weights")
                file.write(chunk)
    except (OSError, *_ZIP_ERRORS) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        raise ValueError(f"{member.filename} is damaged ({error})") from error
