"""Loading a config: what a file means, and everything that is wrong with it in one run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import rich.pretty
import trustme

from supervisor.config import Address, Config, ConfigError, builtin_destinations, load

REPOSITORY = Path(__file__).parents[2]
BUILTIN = frozenset({"mixpanel", "webhooks"})

#: The least that makes a service of use.
#: Of an operator; a viewer's comes behind it.
TOKENS = '[admin]\ntoken="t23456789012345678"\n'
SMALL = """
[service]
state_dir = "state"
[sources.web]
write_key = "k"
[connections.hook]
source = "web"
destination = "webhooks"
"""

Load = Callable[..., Config]
Errors = Callable[..., list[str]]


@pytest.fixture
def loaded(tmp_path: Path) -> Load:
    """Loads a config from text."""

    def load_text(text: str, environ: Mapping[str, str] | None = None) -> Config:
        path = tmp_path / "b.toml"
        path.write_text(text)
        return load(path, environ=environ or {}, builtin=BUILTIN)

    return load_text


@pytest.fixture
def errors(loaded: Load, tmp_path: Path) -> Errors:
    """The errors of a config from text, without the file's name in front."""

    def errors_of(text: str, environ: Mapping[str, str] | None = None) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            loaded(text, environ)
        prefix = f"{tmp_path / 'b.toml'}"
        assert all(error.startswith(prefix) for error in caught.value.errors)
        return [error.removeprefix(prefix).removeprefix(": ") for error in caught.value.errors]

    return errors_of


def test_defaults(loaded: Load, tmp_path: Path) -> None:
    """A file says only what it wants different; an empty one is a valid service."""
    config = loaded("")
    assert config.service.state_dir == Path("/var/lib/bulkhead")
    assert config.service.drain_timeout_s == 30
    assert config.api.listen == Address(host="127.0.0.1", port=8190)
    assert config.admin.listen == Address(host="127.0.0.1", port=9190)
    assert list(config.pools) == ["default"]
    assert config.pools["default"].destinations == ("*",)
    assert loaded(SMALL).service.state_dir == tmp_path / "state"


def test_contract_example(loaded: Load, tmp_path: Path) -> None:
    """The example with every key, as the public contract shows it, is understood."""
    (tmp_path / "plugins").mkdir()
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    text = """
        [service]
        state_dir = "/var/lib/bulkhead"
        plugin_paths = ["./plugins"]
        [api]
        listen = "127.0.0.1:8190"
        max_event = "32KiB"
        max_request = "500KiB"
        [admin]
        listen = "127.0.0.1:9190"
        token = { env = "BULKHEAD_ADMIN_TOKEN" }
        [queue]
        engine = "sqlite"
        max_pending = "2GiB"
        dedupe_window = "24h"
        dedupe_budget = "1GiB"
        dead_letters = "1GiB"
        dead_letters_age = "30d"
        history = "64MiB"
        [retry]
        window = "4h"
        first_delay = "1s"
        max_delay = "10m"
        [pools.default]
        destinations = ["*"]
        workers = 2
        spares = 1
        memory_limit = "256MiB"
        memory_soft_limit = "192MiB"
        batch_timeout = "30s"
        block_timeout = "1s"
        max_open_files = 256
        network = "declared"
        allow = ["127.0.0.1:9000"]
        [pools.hooks]
        destinations = ["webhooks"]
        [sources.website]
        write_key = { env = "WEBSITE_WRITE_KEY" }
        [connections.website-mixpanel]
        source = "website"
        destination = "mixpanel"
        settings = { token = { env = "MIXPANEL_TOKEN" } }
        max_concurrency = 8
        rate_limit = "500/s"
        max_backlog = "200MiB"
        ordering = "none"
        weight = 1
        linger = "50ms"
        batch_events = 100
        batch_bytes = "1MiB"
        enabled = true
        [connections.website-hook]
        source = "website"
        destination = "webhooks"
        settings = { url = "https://h.example", shared_secret = { env = "HOOK_SECRET" }, \
headers = { X-Team = "growth" } }
        [sandbox]
        profile = "strict"
        require = ["landlock", "seccomp"]
        ca_file = "ca.pem"
        proxy = "http://proxy.internal:3128"
        [destinations.leaky]
        class = "leaky:Leaky"
    """
    names = ("BULKHEAD_ADMIN_TOKEN", "WEBSITE_WRITE_KEY", "MIXPANEL_TOKEN", "HOOK_SECRET")
    config = loaded(text, {name: f"value of {name}" for name in names})
    assert config.service.plugin_paths == (tmp_path / "plugins",)
    assert config.sources["website"].write_keys == ("value of WEBSITE_WRITE_KEY",)
    mixpanel = config.connections["website-mixpanel"]
    assert mixpanel.settings == {"token": "value of MIXPANEL_TOKEN"}
    assert (mixpanel.rate_limit, mixpanel.linger_s, mixpanel.batch_bytes) == (500, 0.05, 1024**2)
    assert config.connections["website-hook"].settings["headers"] == {"X-Team": "growth"}
    assert config.sandbox.require == ("landlock", "seccomp")
    assert config.pool_of("webhooks") == "hooks"
    assert config.pool_of("leaky") == "default"
    assert config.destinations_of("hooks") == (("webhooks", None),)
    assert config.destinations_of("default") == (("mixpanel", None),)
    # Every value above is the default, where there is one.
    assert config.queue == loaded("").queue
    assert config.retry == loaded("").retry
    assert config.pools["hooks"].memory_limit == config.pools["default"].memory_limit


def test_builtin_destinations() -> None:
    """Built-in destinations are the folders beside the kit, by name, found without an import."""
    names = builtin_destinations()
    assert "kit" not in names
    folders = {
        path.parent.name.replace("_", "-")
        for path in (REPOSITORY / "destinations").glob("*/__init__.py")
    }
    assert names == folders - {"kit"}


def test_all_errors_in_one_run(errors: Errors) -> None:
    """Unknown keys, wrong types, impossible values and broken references come out together."""
    assert errors(
        """
        [servise]
        [service]
        state_dir = 3
        [api]
        max_event = 32
        [pools.web]
        destinations = ["mixpanle"]
        memory_limit = "lots"
        workers = 0
        [pools.rest]
        destinations = ["*"]
        network = "open"
        [sources.web]
        write_keys = []
        [connections.hook]
        source = "website"
        destination = "webhook"
        enabled = "yes"
        """
    ) == [
        'servise: is no key of the config (did you mean "service"?)',
        "service.state_dir: is 3; write a string, or a secret: "
        '{ env = "NAME" } or { file = "PATH" } with one key',
        'api.max_event: is 32; write a size such as "256MiB" '
        "(units: B, kB, KB, MB, GB, TB, KiB, MiB, GiB, TiB)",
        "pools.web.workers: is 0; write a whole number from 1 to 256",
        'pools.web.memory_limit: is "lots"; write a size such as "256MiB" '
        "(units: B, kB, KB, MB, GB, TB, KiB, MiB, GiB, TiB)",
        'pools.rest.network: is "open"; write "declared" or "public" or "any"',
        "sources.web.write_keys: is empty; name at least one",
        'connections.hook.enabled: is "yes"; write true or false, without quotes',
        'pools.web.destinations[0]: there is no destination "mixpanle" (did you mean "mixpanel"?); '
        "known destinations: mixpanel, webhooks; add [destinations.NAME] or name one of them",
        'connections.hook.source: there is no source "website" (did you mean "web"?); '
        "known sources: web; add [sources.NAME] or name one of them",
        'connections.hook.destination: there is no destination "webhook" (did you mean '
        '"webhooks"?); known destinations: mixpanel, webhooks; '
        "add [destinations.NAME] or name one of them",
    ]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[api]\nlisten = 1 2", ":2:12: is not TOML: "),
        ("a = 1\na = 2", ":2: is not TOML: Cannot overwrite a value"),
        ("x = " + "9" * 5000, ": is not TOML: "),
    ],
)
def test_syntax(errors: Errors, text: str, error: str) -> None:
    """A slip in TOML itself is reported with line and column."""
    (said,) = errors(text)
    assert said.startswith(error.removeprefix(": "))


def test_unreadable(tmp_path: Path) -> None:
    """A file that is not there, no file, or no text is an error of the config."""
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read: No such file"):
        load(tmp_path / "none.toml", environ={})
    with pytest.raises(ConfigError, match="cannot be read: it is a folder"):
        load(tmp_path, environ={})
    (tmp_path / "latin.toml").write_bytes(b"# a\n# caf\xe9\n")
    with pytest.raises(ConfigError, match=r"latin\.toml:2: is not UTF-8"):
        load(tmp_path / "latin.toml", environ={})


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[service]\nmax_pending=1", "service.max_pending: is no key of the config here; it"),
        ("[retry]\nxyz=1", "retry.xyz: is no key of the config; known here: window, first_delay"),
        ('pools = "x"', 'pools: is "x"; write tables such as [pools.NAME]'),
        ("api = 3", "api: is 3; write a table [api]"),
        ("[pools]\nweb = 1", "pools.web: is 1; write a table [pools.web]"),
        ('[pools."a b"]\ndestinations=["*"]', 'pools."a b": is no name; '),
        ("[pools.web]", "pools.web.destinations: is missing"),
        ('[pools.a]\ndestinations=["*"]\n[pools.b]\ndestinations=["*"]', "pools.b.destinations[0]"),
        (
            '[pools.a]\ndestinations=["*", "webhooks"]\n[pools.b]\ndestinations=["webhooks"]',
            'pools.b.destinations[0]: "webhooks" is in pools.a too',
        ),
        (
            '[pools.default]\nmemory_soft_limit="256MiB"',
            "pools.default.memory_soft_limit: is not below memory_limit",
        ),
        ("[sources.a]", "sources.a.write_key: is missing"),
        ('[sources.a]\nwrite_key="a"\nwrite_keys=["b"]', "sources.a.write_key: stands beside"),
        (
            '[sources.a]\nwrite_key="k"\n[sources.b]\nwrite_key="k"',
            "sources.b: has a write key of sources.a too",
        ),
        ('[sources.a]\nwrite_keys=["k","k"]', "sources.a.write_keys[1]: is there twice"),
        ('[admin]\nlisten="0.0.0.0:1"', "admin.token: is required where others can reach"),
        ('[admin]\nlisten="127.0.0.1:8190"', "admin.listen: is the address of api.listen"),
        ('[admin]\nhosts="a.example"', 'admin.hosts: is "a.example"; write an array'),
        ('[admin]\nhosts=["https://a.example"]', "admin.hosts[0]: is "),
        ('[admin]\nhosts=["a.example:0"]', "admin.hosts[0]: is "),
        ('[admin]\nhosts=["a.example/"]', "admin.hosts[0]: is "),
        ('[admin]\nhosts=["*.a.example"]', "admin.hosts[0]: is "),
        ('[admin]\nhosts=["A.example","a.example"]', "admin.hosts[1]: is there twice"),
        ('[admin]\nview_token="v234567890123456"', "admin.view_token: is set without admin.tok"),
        (TOKENS + 'view_token="t23456789012345678"', "admin.view_token: is admin.token too"),
        (TOKENS + 'view_token="short"', "admin.view_token: is shorter than 16 characters"),
        (
            '[admin]\ntoken="short"\nview_token="v23456789012345678"',
            "admin.token: is shorter than 16 characters",
        ),
        ('[admin]\nuser_header="X Y"', 'admin.user_header: is "X Y"; write the name of a header'),
        ('[console]\npayloads="some"', 'console.payloads: is "some"; write "masked" or "full"'),
        ('[console]\nmask=["traits..email"]', 'console.mask[0]: is "traits..email"; write a path'),
        ('[console]\ntap="1GB"\ntrends="1KiB"', 'console.trends: is "1KiB"; write a size from'),
        ('[api]\nmax_event="1MiB"', "api.max_event: is above api.max_request"),
        ('[queue]\nmax_pending="64KiB"', "queue.max_pending: is below api.max_request"),
        ('[queue]\nengine="mysql"', 'queue.engine: is "mysql"; write "sqlite"'),
        ('[retry]\nfirst_delay="1h"', "retry.first_delay: is above retry.max_delay"),
        ('[sandbox]\nrequire=["landlok"]', 'sandbox.require[0]: is "landlok"; write '),
        ('[sandbox]\nca_file="none.pem"', "sandbox.ca_file: names no file: "),
        ('[sandbox]\nca_file="b.toml"', "sandbox.ca_file: holds no certificates in PEM"),
        ('[sandbox]\nprofile="off"', 'sandbox.profile: is "off"; write "strict"'),
        ('[service]\nplugin_paths=["none"]', "service.plugin_paths[0]: names no folder: "),
        ('[destinations.webhooks]\nclass="a:B"', "destinations.webhooks: is the name of a"),
        ('[destinations.own]\nclass="a.py"', 'destinations.own.class: is "a.py"; write "module:C'),
        ("[destinations.own]", "destinations.own.class: is missing"),
        (SMALL + "batch_events=0", "connections.hook.batch_events: is 0; write a whole number"),
        (SMALL + 'ordering="users"', 'connections.hook.ordering: is "users"; write "none" or '),
        (SMALL + 'max_backlog="3GiB"', "connections.hook.max_backlog: is above queue.max_pending"),
        (SMALL + "settings=[]", "connections.hook.settings: is an array; write a table"),
        (SMALL + "settings={a={b=[1979-05-27]}}", "connections.hook.settings.a.b[0]: is a date"),
        (SMALL + "settings={a=inf}", "connections.hook.settings.a: is no finite number"),
        (SMALL + "settings={a=9223372036854775808}", "connections.hook.settings.a: is past"),
        (SMALL + '[pools.x]\ndestinations=["mixpanel"]', 'connections.hook.destination: "webh'),
        (SMALL + "settings." + ".".join("a" * 30) + "=1", "connections.hook.settings.a.a.a.a."),
    ],
)  # fmt: skip
def test_errors(errors: Errors, text: str, error: str) -> None:
    """Each slip is one error, at the key that is at fault."""
    (said,) = errors(text)
    assert said.startswith(error)


def test_default_pool_is_tuned(loaded: Load) -> None:
    """The pool `default` runs everything else unless it says otherwise; its soft limit follows."""
    pool = loaded('[pools.default]\nmemory_limit = "128MiB"').pools["default"]
    assert pool.destinations == ("*",)
    assert pool.memory_soft_limit == 96 * 1024**2


SECRETS = (
    SMALL
    + """
settings = { url = "https://h", shared_secret = { env = "HOOK" }, deep = [{ x = { file = "s" } }] }
rate_limit = { env = "RATE" }
[admin]
token = { env = "TOKEN" }
[sandbox]
proxy = { env = "PROXY" }
"""
)
ENVIRON = {
    "HOOK": "hook-pass",
    "RATE": "7/s",
    "TOKEN": "admin-pass",
    "PROXY": "http://u:proxy-pass@p:1",
}


def test_secrets(loaded: Load, tmp_path: Path) -> None:
    """A reference may stand wherever a string may; a file's last newline is no part of it."""
    (tmp_path / "s").write_text("file-pass\n")
    config = loaded(SECRETS, ENVIRON)
    hook = config.connections["hook"]
    assert hook.settings == {
        "url": "https://h",
        "shared_secret": "hook-pass",
        "deep": [{"x": "file-pass"}],
    }
    assert hook.rate_limit == 7
    assert config.secrets == {"hook-pass", "7/s", "admin-pass", "file-pass", ENVIRON["PROXY"]}
    assert config.secret_settings == {("hook", "shared_secret"), ("hook", "deep[0].x")}
    assert type(hook.settings["shared_secret"]) is str


def test_secrets_are_not_shown(loaded: Load, tmp_path: Path) -> None:
    """No text form of a config, or of a part of it, holds a secret."""
    (tmp_path / "s").write_text("file-pass")
    config = loaded(SECRETS.replace('"k"', '{ env = "HOOK" }'), ENVIRON)
    for shown in (repr(config), str(config), rich.pretty.pretty_repr(config)):
        assert "mixpanel" not in shown
        assert "hook" in shown
        assert "-pass" not in shown


def test_secrets_are_not_in_errors(errors: Errors) -> None:
    """An error about a value that came from a secret does not quote it."""
    text = (
        SMALL
        + 'linger = { env = "S" }\nordering = { env = "S" }\nsource2 = { env = "S" }\n'
        + '[api]\nlisten = { env = "S" }\n[pools.default]\nallow = [{ env = "S" }, { env = "N" }]\n'
        + '[destinations.own]\nclass = { env = "S" }\n[sandbox]\nproxy = { env = "S" }\n'
    )
    said = errors(text, {"S": "pass word", "N": "10.9.8.7/2"})
    assert len(said) == 8
    assert not [error for error in said if "pass" in error or "10.9" in error]


def test_missing_secrets(errors: Errors, tmp_path: Path) -> None:
    """A reference that leads nowhere is an error at its key, and the only one about it."""
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff")
    (tmp_path / "big").write_bytes(b"x" * 70_000)
    text = SMALL.replace('"k"', '{ env = "NONE" }') + (
        'settings = { a = { file = "none" }, b = { env = "EMPTY" }, c = [{ file = "empty" }], '
        'd = { file = "binary" }, e = { file = "big" }, f = { file = "." } }\n'
        '[admin]\nlisten = "0.0.0.0:1"\ntoken = { env = "NONE" }\n'
    )
    said = errors(text, {"EMPTY": ""})
    at = "connections.hook.settings"
    assert said == [
        'admin.token: env "NONE" is not in the environment; set it, or name another variable',
        'sources.web.write_key: env "NONE" is not in the environment; '
        "set it, or name another variable",
        f'{at}.a: file "none" names no file: {tmp_path / "none"}',
        f'{at}.b: env "EMPTY" is empty',
        f'{at}.c[0]: file "empty" is empty',
        f'{at}.d: file "binary" is not UTF-8 text',
        f'{at}.e: file "big" is larger than 65536 bytes, which is no secret',
        f'{at}.f: file "." cannot be read: it is a folder, and no regular file',
    ]


def test_settings_named_env(loaded: Load) -> None:
    """Settings themselves are a table, so a setting called `env` is no reference."""
    config = loaded(SMALL + 'settings = { env = "production" }')
    assert config.connections["hook"].settings == {"env": "production"}
    assert not config.secrets
