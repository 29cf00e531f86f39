"""Messages for errors that no module expects: a limit of the system, or a bug."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from unblur.errors import PhotoError, UsageError, describe_unexpected
from unblur.extras import load_extra
from unblur.storage.places import Url
from unblur.storage.stores import open_store


def raised(error, cause=None):
    try:
        raise error from cause
    except type(error) as caught:
        return caught


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        OSError("libc10.so: cannot apply additional memory protection: Cannot allocate memory"),
        raised(
            ImportError("\n\nIMPORTANT: PLEASE READ THIS FOR ADVICE"),
            ImportError("_umath_linalg.so: failed to map segment from shared object"),
        ),
    ],
    ids=["Python", "library", "library of PyTorch", "library of NumPy"],
)
def test_too_little_memory_to_start_is_told_as_such(error):
    assert describe_unexpected(error).startswith("out of memory: close other programs, or raise")


def test_a_library_that_cannot_be_loaded_is_told_without_pages_of_advice():
    error = raised(ImportError("\n\nIMPORTANT: PLEASE READ"), ImportError("libz.so: not found"))
    assert describe_unexpected(error) == (
        "unexpected ImportError: libz.so: not found; -vv shows where"
    )


def failed_again(error, after):
    """An error that was raised while another one was handled."""
    error.__context__ = after
    return error


@pytest.mark.parametrize(
    ("origin", "said"),
    [
        (OSError(28, "No space left on device"), "no space left on device; -vv shows where"),
        (OSError(5, "Input/output error", "a.jpg"), "input/output error: a.jpg; -vv shows where"),
        (MemoryError(), "out of memory: "),
        (RuntimeError("can't start new thread"), "the system starts no more threads"),
    ],
    ids=["full disk", "file", "memory", "threads"],
)
def test_the_error_of_the_system_is_told_and_not_what_a_library_made_of_it(origin, said):
    advice = RuntimeError("\nFailed to export the model\nNext steps:\n- Modify the code")
    for error in (
        raised(advice, origin),
        raised(RuntimeError("1 of 3"), failed_again(AssertionError("is registered"), origin)),
    ):
        assert describe_unexpected(error).startswith(said)


def test_an_error_that_stands_for_itself_is_not_told_by_what_went_before():
    error = raised(failed_again(ValueError("mine"), OSError("handled")))  # from None
    assert error.__suppress_context__
    assert describe_unexpected(error).startswith("unexpected ValueError: mine")


def test_a_missing_library_is_named_with_what_to_do():
    code = "import sys; sys.modules['psutil'] = None\nfrom unblur.cli import main; main(['doctor'])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 1
    assert run.stderr == (
        "unblur: error: the Python library psutil is missing: install unblur again, with pip or "
        "pipx\n"
    )
    part = ModuleNotFoundError("No module named 'numpy.typing'", name="numpy.typing")
    assert "library numpy is missing" in describe_unexpected(part)


@pytest.mark.parametrize("library", ["click", "platformdirs"])
def test_a_library_that_is_missing_at_the_start_is_named_too(library):
    code = f"import sys; sys.modules[{library!r}] = None\nfrom unblur.cli import main"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 1
    assert run.stderr == (
        f"unblur: error: the Python library {library} is missing: install unblur again, with pip "
        "or pipx\n"
    )


def test_a_python_without_a_part_of_its_own_library_is_told_from_a_missing_library():
    code = (
        "import sys; sys.modules['_sqlite3'] = None\nfrom unblur.cli import main; main(['a.jpg'])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 1
    assert run.stderr == (
        "unblur: error: this Python lacks its own module _sqlite3: use a complete Python\n"
    )


@pytest.mark.parametrize(
    "library", ["import damaged_part", "raise ValueError('dtype size\\nchanged')"]
)
def test_an_optional_library_that_is_there_but_damaged_is_not_called_missing(
    library, tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "damaged_library.py").write_text(library, "utf-8")
    with pytest.raises(PhotoError) as raised_error:
        load_extra("damaged_library", "raw", "camera RAW files")
    assert re.fullmatch(
        r"camera RAW files need damaged_library, which cannot be loaded "
        r"\((No module named 'damaged_part'|dtype size changed)\): "
        "pip install --force-reinstall damaged_library",
        str(raised_error.value),
    )


def test_a_store_whose_library_is_there_but_damaged_is_not_called_missing(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "gcsfs", raising=False)
    (tmp_path / "gcsfs.py").write_text("import damaged_part", "utf-8")
    with pytest.raises(UsageError, match="addresses need gcsfs, which cannot be loaded"):
        open_store(Url("gs", "bucket/photo.jpg"))


def test_a_missing_module_of_unblur_is_a_bug():
    error = ModuleNotFoundError("No module named 'unblur.gone'", name="unblur.gone")
    assert describe_unexpected(error).startswith("unexpected ModuleNotFoundError: ")


def test_a_bug_is_told_by_its_type():
    assert describe_unexpected(KeyError("x")) == "unexpected KeyError: 'x'; -vv shows where"
