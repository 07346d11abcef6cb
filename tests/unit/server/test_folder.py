"""The folder of a server belongs to one server at a time, whatever else the process does with its files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from aiorocketmq.errors import ConfigError
from aiorocketmq.server import LocalCluster
from aiorocketmq.server.store.folder import FolderLock

START = """
import asyncio, sys
from aiorocketmq.server import LocalCluster
try:
    asyncio.run(LocalCluster(data_dir=sys.argv[1]).start())
except Exception as error:
    print(error)
"""


def read_all(folder: Path) -> None:
    """A backup by hand; POSIX locks that the process has on the files end with it."""
    for file in folder.iterdir():
        file.read_bytes()


async def test_a_folder_has_one_server_even_when_its_files_were_read(tmp_path: Path) -> None:
    async with LocalCluster(data_dir=tmp_path) as cluster:
        read_all(tmp_path)
        other = subprocess.run([sys.executable, "-c", START, str(tmp_path)], capture_output=True, text=True, timeout=30, check=True)
        assert "is in use by another server (stop the other server" in other.stdout
        with pytest.raises(ConfigError, match="in use by another server"):
            await LocalCluster(data_dir=tmp_path / ".." / tmp_path.name).start()
        assert cluster.brokers[0].running
    async with LocalCluster(data_dir=tmp_path):
        pass


def test_a_lock_is_free_after_its_release_and_after_its_holder(tmp_path: Path) -> None:
    first, second = FolderLock(tmp_path / "new"), FolderLock(tmp_path / "new")
    first.take()
    with pytest.raises(ConfigError, match="in use"):
        second.take()
    first.release()
    first.release()
    second.take()
    second.release()


FORK = """
import os, signal, sys, time
from pathlib import Path
from aiorocketmq.errors import ConfigError
from aiorocketmq.server.store.folder import FolderLock

lock, again = FolderLock(Path(sys.argv[1])), FolderLock(Path(sys.argv[1]))
lock.take()
told, tells = os.pipe()
child = os.fork()
if not child:
    os.write(tells, b"x")
    time.sleep(60)
    os._exit(0)
os.read(told, 1)
try:
    again.take()
except ConfigError:
    lock.release()
    again.take()
    print("taken again")
finally:
    os.kill(child, signal.SIGKILL)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_does_not_hold_what_its_parent_has_given_back(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FORK, str(tmp_path)], capture_output=True, text=True, timeout=30, check=False)
    assert (done.stdout, done.stderr) == ("taken again\n", "")


@pytest.mark.parametrize("kind", ["file", "below a file"])
def test_what_is_no_folder_is_named(tmp_path: Path, kind: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    folder = tmp_path / "file" if kind == "file" else tmp_path / "file" / "below"
    with pytest.raises(ConfigError, match=f"data_dir: {folder} cannot be used"):
        FolderLock(folder).take()


async def test_a_broker_finds_its_file_again_from_another_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    async with LocalCluster(data_dir="data") as cluster:
        await cluster.create_topic("kept")
        await cluster.kill_broker("broker-a")
        monkeypatch.chdir(tmp_path / "elsewhere")
        await cluster.start_broker("broker-a")
        assert "kept" in cluster.brokers[0].state.topics
    assert os.listdir(tmp_path / "elsewhere") == []
