"""The cache folder, and files that are replaced in one step."""

from pathlib import Path

import pytest

from stream.files.cache import cache_dir, write_atomically


def test_the_cache_lies_in_the_cache_folder_of_the_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSELIFT_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    monkeypatch.setattr("sys.platform", "linux")
    assert cache_dir() == Path("/caches/poselift")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir() == Path.home() / ".cache/poselift"
    monkeypatch.setattr("sys.platform", "darwin")
    assert cache_dir() == Path.home() / "Library/Caches/poselift"


def test_an_environment_variable_names_another_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSELIFT_CACHE", "~/elsewhere")
    assert cache_dir() == Path.home() / "elsewhere"


def test_a_file_is_replaced_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "poses.npz"
    path.write_text("previous")
    with write_atomically(path) as temporary:
        temporary.write_text("new")
        assert (temporary.parent, path.read_text()) == (tmp_path, "previous")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("poses.npz", "new")]


def test_a_failed_write_leaves_the_previous_file_and_no_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / "poses.npz"
    path.write_text("previous")

    def write_half() -> None:
        with write_atomically(path) as temporary:
            temporary.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_half()
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("poses.npz", "previous")]


def test_a_replaced_file_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "poses.npz"
    path.write_text("previous")
    path.chmod(0o640)
    with write_atomically(path) as temporary:
        temporary.write_text("new")
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    with write_atomically(tmp_path / "atomic") as temporary:
        temporary.write_text("new")
    (tmp_path / "plain").write_text("new")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_symbolic_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    link, file = tmp_path / "link", tmp_path / "folder" / "file"
    link.symlink_to(file)
    with write_atomically(link) as temporary:
        temporary.write_text("new")
    assert link.is_symlink()
    assert file.read_text() == "new"


def test_a_folder_that_does_not_exist_raises_oserror(tmp_path: Path) -> None:
    with (
        pytest.raises(FileNotFoundError),
        write_atomically(tmp_path / "missing" / "file") as temporary,
    ):
        temporary.write_text("new")
