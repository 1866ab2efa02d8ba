"""Every form of exec line that is known, as a table: what Nix's clients and tools send, and not."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shim.execline import COMMANDS, LIMIT, Accepted, Refused, parse, split
from shim.preamble import Speaks
from shim.session.commandline import PROGRAMS

WORKER = Accepted(Speaks.WORKER)
STARTED = Accepted(Speaks.WORKER, greeting=b"started\n")
SERVE = Accepted(Speaks.SERVE, ("--write",))
DRV = "/nix/store/g1n3d8x2k0yq6z2m5mh0qv2s6m5z3f4b-a.drv"


def command(*words: str) -> Accepted:
    return Accepted(Speaks.COMMAND, words)


ACCEPTED = {
    # ssh-ng, by client
    "nix-daemon --stdio": WORKER,  # 2.3: fixed; later the default
    "/run/current-system/sw/bin/nix-daemon --stdio": WORKER,
    "nix-daemon --stdio --store 'local?root=/mnt/a b'": WORKER,  # 2.4 to 2.19 quote the URI
    r"nix-daemon --stdio --store 'it'\''s'": WORKER,
    "nix-daemon --stdio --store unix:///run/x?a=1&b=2": WORKER,  # from 2.20 on nothing is quoted
    "nix-daemon --stdio --store local?root=/mnt --process-ops": WORKER,  # mounted-ssh-ng
    "nix daemon --stdio": WORKER,
    "nix --extra-experimental-features nix-command daemon --stdio": WORKER,
    "nix --extra-experimental-features 'nix-command flakes' daemon --stdio --store auto": WORKER,
    "nix-daemon --stdio --force-trusted": WORKER,
    "nix-daemon --stdio --default-trust": WORKER,
    "nix-daemon --option cores 4 -v --stdio": WORKER,
    "sudo nix-daemon --stdio": WORKER,
    "sudo -n -u root nix-daemon --stdio": WORKER,
    "nice -n 19 nix-daemon --stdio": WORKER,
    "env NIX_REMOTE=daemon LANG=C nix-daemon --stdio": WORKER,
    "NIX_REMOTE=daemon nix-daemon --stdio": WORKER,
    "exec nix-daemon --stdio": WORKER,
    "echo started && exec nix-daemon --stdio": STARTED,
    "echo started; nix-daemon --stdio": STARTED,
    "nix-shim stdio --stdio": WORKER,
    # ssh
    "nix-store --serve --write": SERVE,
    "/nix/var/nix/profiles/default/bin/nix-store --serve --write": SERVE,
    "nix-store --serve --write --store 'local?root=/mnt/a b'": SERVE,
    "nix-store --serve --write --store local?root=/mnt&x=1": SERVE,
    "nix-store --serve": Accepted(Speaks.SERVE),
    "nice -n20 nix-store --serve --write": SERVE,
    "nice -20 nix-store --serve --write": SERVE,
    "nice --5 nix-store --serve --write": SERVE,
    " \techo started\t&&nix-store\t--serve --write ": Accepted(
        Speaks.SERVE, ("--write",), b"started\n"
    ),
    "nix-shim stdio --serve --write": SERVE,
    # what is run beside the stores
    f"nix-store -r {DRV}": command("nix-store", "-r", DRV),
    f"env PATH=/nix/store/x/bin:$PATH nix-store -r {DRV} --add-root /tmp/r --indirect": command(
        "nix-store", "-r", DRV, "--add-root", "/tmp/r", "--indirect"
    ),
    f"env -i PATH=${{PATH-}} nix-store --realise {DRV} --keep-going": command(
        "nix-store", "--realise", DRV, "--keep-going"
    ),
    f"nix --extra-experimental-features 'nix-command flakes' build '{DRV}^*' --no-link": command(
        "nix",
        "--extra-experimental-features",
        "nix-command flakes",
        "build",
        f"{DRV}^*",
        "--no-link",
    ),
    "nix-store -qR /nix/store/x": command("nix-store", "-qR", "/nix/store/x"),
    "nix-store --import": command("nix-store", "--import"),
    "/usr/bin/nix-store --version": command("nix-store", "--version"),
    "nix-store --query ''": command("nix-store", "--query", ""),
    "nix-store -r '/nix/store/a;b'": command("nix-store", "-r", "/nix/store/a;b"),
    "mktemp -d -t nixos-rebuild.XXXXX": command("mktemp", "-d", "-t", "nixos-rebuild.XXXXX"),
    "readlink -f /tmp/x": command("readlink", "-f", "/tmp/x"),
    "rm -rf /tmp/nixos-rebuild.abc": command("rm", "-rf", "/tmp/nixos-rebuild.abc"),
}

REFUSED = [
    "",
    " ",
    "id",
    "bash",
    "/bin/sh -c 'nix-daemon --stdio'",
    "sh -c nix-daemon --stdio",
    "cat /etc/shadow",
    "scp -t /tmp",
    "/usr/lib/openssh/sftp-server",
    "uname -m",
    "sudo",
    "env",
    "env -S 'nix-daemon --stdio'",
    "LD_PRELOAD=/tmp/x.so",
    "1=2 nix-daemon --stdio",
    "nice 19 nix-daemon --stdio",
    "nice -n nix-daemon --stdio",
    "nice -x19 nix-daemon --stdio",
    "echo startednix-daemon --stdio",
    "echo started & nix-daemon --stdio",
    "sudo id",
    "nix-daemon",
    "nix-daemon --store auto",
    "nix-daemon --stdio id",
    "nix-daemon --stdio; id",
    "nix-daemon --stdio && id",
    "nix-daemon --stdio | tee /tmp/x",
    "nix-daemon --stdio > /etc/passwd",
    "nix-daemon --stdio $(id)",
    "nix-daemon --stdio `id`",
    "nix-daemon --stdio\nid",
    "nix-daemon --stdio --store",
    "nix-daemon --stdio --process",
    "nix-daemon '--stdio",
    "nix-daemon --stdio\\",
    "id; nix-daemon --stdio",
    "echo started",
    "echo started && id",
    "echo started && echo started && nix-daemon --stdio",
    "echo hello && nix-daemon --stdio",
    "nix-store --serve --write --gc",
    "nix-store --serve --write; id",
    "nix-store --gc --serve",
    f"nix-store -r {DRV} && id",
    f"nix-store -r {DRV}; id",
    f"nix-store -r {DRV} > /tmp/x",
    f"nix-store -r $(cat {DRV})",
    f"nix-store -r {DRV}\nid",
    "nix-storex --serve --write",
    "nix-shim stdio",
    "nix-shim stdio --peer attic --stdio",
    "nix-shim serve",
    "nix-shim keys --stdio",
    "x" * (LIMIT + 1),
    "nix-store -r " + "/nix/store/x " * LIMIT,
]


@pytest.mark.parametrize(("line", "answer"), ACCEPTED.items(), ids=ACCEPTED)
def test_what_clients_send_is_understood(line: str, answer: Accepted) -> None:
    assert parse(line) == answer


@pytest.mark.parametrize("line", REFUSED, ids=lambda line: line[:40] or "nothing")
def test_everything_else_is_refused_with_one_harmless_line(line: str) -> None:
    answer = parse(line)
    assert isinstance(answer, Refused)
    assert answer.message.isprintable()
    assert answer.message.startswith("nix-shim: ")  # never `# ` or `@nix `: hooks obey those
    assert len(answer.message) < 400


def test_commands_are_those_that_the_daemon_reads() -> None:
    assert COMMANDS == PROGRAMS


WORDS = st.sampled_from(
    [
        *("nix-daemon", "nix-store", "nix", "nix-shim", "daemon", "stdio", "--stdio", "--serve"),
        *("--write", "--store", "env", "sudo", "nice", "exec", "A=b", "-n", ";", "&&", "'", '"'),
        *(
            "$(id)",
            "\\",
            "\n",
            "`",
            "echo",
            "started",
            "-r",
            "/nix/store/x",
            "\x1b[31m",
            "# accept",
        ),
    ]
)


@given(st.text(st.sampled_from("ab \\'\"\t\x1f\x85\u2003é#;&-=")))
def test_words_are_those_that_a_shell_sees(line: str) -> None:
    try:
        words = shlex.split(line)
    except ValueError:
        with pytest.raises(ValueError, match="No"):
            split(line)
    else:
        assert split(line) == words


@given(st.lists(WORDS | st.text(max_size=4), max_size=9).map(" ".join))
def test_any_line_is_answered(line: str) -> None:
    match parse(line):
        case Refused(message=message):
            assert message.isprintable()
            assert message.startswith("nix-shim: ")
        case Accepted(speaks=Speaks.COMMAND, arguments=arguments):
            assert arguments[0] in COMMANDS
            assert not {";", "&&", "|", ">"} & set(arguments)
        case Accepted(speaks=speaks, arguments=arguments):
            assert speaks in {Speaks.WORKER, Speaks.SERVE}
            assert set(arguments) <= {"--write"}
            assert {"--stdio", "--serve"} & set(shlex.split(line))
