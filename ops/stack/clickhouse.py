"""ClickHouse as a part: the engine of the chdb-core wheel, served on loopback for a laptop and for tests.

`USERS` is the one table of users. Production is a clickhouse-server of its own.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path
from urllib.parse import quote
from xml.sax.saxutils import escape

from ops.stack import landlock
from ops.stack.home import Home, write_private
from ops.stack.part import Part
from ops.stack.ports import Ports
from ops.stack.request import basic, http_text
from tapehouse.errors import ConnectError, StackError
from tapehouse.settings import LOOPBACK

USER = "admin"
READER = "reader"
USERS: dict[str, tuple[str, ...]] = {
    USER: ("GRANT ALL ON *.* WITH GRANT OPTION",),
    # Of databases whose names begin so.
    READER: ("GRANT SELECT ON cold*.*", "GRANT SELECT ON system.parts"),
}
"""By user: its grants. Each has a generated password, and but for `USER` may change nothing."""
_SERVER_MEMORY = 2 * 2**30
_QUERY_MEMORY = 3 * 2**29
_MARK_CACHE = 2**28


def password(home: Home, user: str = USER) -> str:
    """The generated password of `user`."""
    return home.secret(f"clickhouse-{user}")


def gate(home: Home) -> str:
    """What the header X-Gate must hold: the engine's own user has no password, and must not be reached."""
    return home.secret("clickhouse-gate")


def part(home: Home, ports: Ports, questdb_http: int) -> Part:
    """ClickHouse on loopback, HTTP alone; of all ports it may connect to `questdb_http` only."""
    if not importlib.util.find_spec("chdb"):
        raise StackError(
            "clickhouse: expected the package chdb-core, was not installed",
            remedy="Install it with `pip install chdb-core`.",
        )
    port = ports.take("clickhouse", 8123)
    conf, data = home.conf("clickhouse"), home.data("clickhouse")
    config, users_config = conf / "config.xml", conf / "users.xml"

    async def answers() -> None:
        await _answers(port, password(home), gate(home))
        # Read by now; what is left would let SQL that reads files read the gate's secret.
        for file in (config, users_config):
            file.unlink(missing_ok=True)

    def prepare() -> None:
        write_private(config, configuration(port, data, gate(home)))
        write_private(users_config, users(home))

    notes = [ports.notes.get("clickhouse", "")]
    if not landlock.version():
        notes.append("this kernel has no Landlock: SQL can read files that this user can read")
    # Isolated: neither the working folder nor the user's variables put modules before the installed ones.
    server = (sys.executable, "-I", "-m", "ops.stack.clickhouse_server")
    return Part(
        name="clickhouse",
        command=(*server, str(conf), str(data), str(port), str(questdb_http)),
        answers=answers,
        address=f"http://{LOOPBACK}:{port}",
        ports=(port,),
        environment={"TZ": "UTC", "TMPDIR": str(data / "tmp")},
        inherits=False,
        note="; ".join(filter(None, notes)),
        prepare=prepare,
    )


def configuration(port: int, data: Path, secret: str) -> str:
    """config.xml: what is listened on, who passes the gate, and how much memory there is."""
    return f"""<clickhouse>
 <logger><level>warning</level><console>1</console></logger>
 <http_port>{port}</http_port>
 <listen_host>{LOOPBACK}</listen_host>
 <tmp_path>{escape(str(data / "tmp"))}/</tmp_path>
 <user_files_path>{escape(str(data / "user_files"))}/</user_files_path>
 <timezone>UTC</timezone>
 <max_server_memory_usage>{_SERVER_MEMORY}</max_server_memory_usage>
 <mark_cache_size>{_MARK_CACHE}</mark_cache_size>
 <uncompressed_cache_size>0</uncompressed_cache_size>
 <merge_tree>
  <fsync_after_insert>1</fsync_after_insert>
  <fsync_part_directory>1</fsync_part_directory>
 </merge_tree>
 <http_handlers>
  <rule><url>/ping</url><handler><type>ping</type></handler></rule>
  <rule>
   <headers><X-Gate>{escape(secret)}</X-Gate></headers>
   <methods>GET,POST</methods>
   <handler><type>dynamic_query_handler</type><query_param_name>query</query_param_name></handler>
  </rule>
 </http_handlers>
 <users_config>users.xml</users_config>
 <access_control_improvements>
  <settings_constraints_replace_previous>true</settings_constraints_replace_previous>
  <select_from_system_db_requires_grant>true</select_from_system_db_requires_grant>
  <select_from_information_schema_requires_grant>true</select_from_information_schema_requires_grant>
  <table_engines_require_grant>true</table_engines_require_grant>
  <enable_read_write_grants>true</enable_read_write_grants>
 </access_control_improvements>
</clickhouse>
"""


def users(home: Home) -> str:
    """users.xml: the engine's own user, who may do nothing but open the port, and those of USERS."""
    listed = "".join(
        _user(
            name,
            f"<password_sha256_hex>{_digest(home, name)}</password_sha256_hex>",
            grants,
            "default" if name == USER else "reading",
        )
        for name, grants in USERS.items()
    )
    return f"""<clickhouse>
 <profiles><default>
  <max_memory_usage>{_QUERY_MEMORY}</max_memory_usage>
  <allow_python_table_function>0</allow_python_table_function>
  <constraints><allow_python_table_function><readonly/></allow_python_table_function></constraints>
 </default><reading>
  <profile>default</profile>
  <readonly>2</readonly>
 </reading></profiles>
 <quotas><default/></quotas>
 <users>
{_user("default", "<password></password>", ("GRANT SYSTEM LISTEN ON *.*",), "default")}{listed} </users>
</clickhouse>
"""


def _user(name: str, credentials: str, grants: tuple[str, ...], profile: str) -> str:
    queries = "".join(f"<query>{escape(grant)}</query>" for grant in grants)
    return (
        f"  <{name}>{credentials}<networks><ip>{LOOPBACK}</ip></networks><profile>{profile}</profile>"
        f"<quota>default</quota><grants>{queries}</grants></{name}>\n"
    )


def _digest(home: Home, user: str) -> str:
    return hashlib.sha256(password(home, user).encode()).hexdigest()


async def _answers(port: int, admin_password: str, secret: str) -> None:
    headers = basic(USER, admin_password) | {"X-Gate": secret}
    body = await http_text("clickhouse", port, "/?query=" + quote("SELECT 1 + 1"), headers)
    if body.strip() != "2":
        raise ConnectError(
            f"clickhouse: expected 2 on port {port}, was {body[:200]}", part="clickhouse", port=port
        )
