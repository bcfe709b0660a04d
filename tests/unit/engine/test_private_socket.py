"""The engine is private: its socket lives where only this user may look."""

from __future__ import annotations

from pathlib import Path

import pytest

from ttrl_server.engine.command import socket_dir, socket_path
from ttrl_server.engine.supervisor import make_socket_dir
from ttrl_server.errors import ConfigError
from ttrl_server.settings.config import Config


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(model="tiny", hardware="cpu", run_dir=tmp_path)


def test_the_folder_of_the_sockets_is_closed_to_others(config: Config) -> None:
    make_socket_dir(config)
    make_socket_dir(config)
    assert socket_dir(config).stat().st_mode & 0o777 == 0o700
    assert len(str(socket_path(config, 0))) < 100


def test_a_folder_that_others_can_look_into_is_refused(config: Config) -> None:
    socket_dir(config).mkdir(exist_ok=True)
    socket_dir(config).chmod(0o755)
    with pytest.raises(ConfigError, match="not private"):
        make_socket_dir(config)


def test_a_link_in_its_place_is_refused(config: Config, tmp_path: Path) -> None:
    private = tmp_path / "elsewhere"
    private.mkdir(mode=0o700)
    socket_dir(config).symlink_to(private)
    with pytest.raises(ConfigError, match="not private"):
        make_socket_dir(config)
