"""What lies in the embedded default root filesystem besides busybox: names, modes and texts, no logic.

Directories, their modes, users and groups are those that Alpine's mini root filesystem has, so that what runs
on the one (``chown guest:users``, ``rm -r /var/empty``) runs on the other. What says who made the system says
who did: this is not Alpine.
"""

from __future__ import annotations

# Directories that Alpine 3.11 and 3.20 both have, but for those of their package manager; 0755 unless below.
DIRECTORIES = """
. bin dev etc etc/crontabs etc/logrotate.d etc/modprobe.d etc/modules-load.d etc/network
etc/network/if-down.d etc/network/if-post-down.d etc/network/if-post-up.d etc/network/if-pre-down.d
etc/network/if-pre-up.d etc/network/if-up.d etc/opt etc/periodic etc/periodic/15min etc/periodic/daily
etc/periodic/hourly etc/periodic/monthly etc/periodic/weekly etc/profile.d etc/ssl etc/ssl/certs
etc/ssl/private etc/sysctl.d home lib lib/firmware media media/cdrom media/floppy media/usb mnt opt proc root
run sbin srv sys tmp usr usr/bin usr/lib usr/local usr/local/bin usr/local/lib usr/local/share usr/sbin
usr/share usr/share/man usr/share/misc usr/share/udhcpc var var/cache var/cache/misc var/empty var/lib
var/lib/misc var/local var/lock var/lock/subsys var/log var/mail var/opt var/spool var/spool/cron var/tmp
""".split()

SYMLINKS = {
    "etc/mtab": "/proc/mounts",
    "var/run": "/run",
    "var/spool/cron/crontabs": "/etc/crontabs",
    "var/spool/mail": "/var/mail",
}

# What is not 0755 (a directory or script) or 0644 (a file).
MODES = {
    "etc/shadow": 0o640,
    "proc": 0o555,
    "root": 0o700,
    "tmp": 0o1777,
    "var/empty": 0o555,
    "var/tmp": 0o1777,
}

# Applets that Alpine has in another place than busybox's own list says.
PLACES = {"cpio": "usr/bin", "nologin": "sbin", "readlink": "usr/bin", "vi": "usr/bin"}

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
bin:x:1:1:bin:/bin:/sbin/nologin
daemon:x:2:2:daemon:/sbin:/sbin/nologin
lp:x:4:7:lp:/var/spool/lpd:/sbin/nologin
sync:x:5:0:sync:/sbin:/bin/sync
shutdown:x:6:0:shutdown:/sbin:/sbin/shutdown
halt:x:7:0:halt:/sbin:/sbin/halt
mail:x:8:12:mail:/var/mail:/sbin/nologin
news:x:9:13:news:/usr/lib/news:/sbin/nologin
uucp:x:10:14:uucp:/var/spool/uucppublic:/sbin/nologin
cron:x:16:16:cron:/var/spool/cron:/sbin/nologin
ftp:x:21:21::/var/lib/ftp:/sbin/nologin
sshd:x:22:22:sshd:/dev/null:/sbin/nologin
games:x:35:35:games:/usr/games:/sbin/nologin
ntp:x:123:123:NTP:/var/empty:/sbin/nologin
guest:x:405:100:guest:/dev/null:/sbin/nologin
nobody:x:65534:65534:nobody:/:/sbin/nologin
"""

GROUP = """\
root:x:0:root
bin:x:1:root,bin,daemon
daemon:x:2:root,bin,daemon
sys:x:3:root,bin
adm:x:4:root,daemon
tty:x:5:
disk:x:6:root
lp:x:7:lp
kmem:x:9:
wheel:x:10:root
floppy:x:11:root
mail:x:12:mail
news:x:13:news
uucp:x:14:uucp
cron:x:16:cron
audio:x:18:
cdrom:x:19:
dialout:x:20:root
ftp:x:21:
sshd:x:22:
input:x:23:
tape:x:26:root
video:x:27:root
netdev:x:28:
kvm:x:34:kvm
games:x:35:
shadow:x:42:
www-data:x:82:
users:x:100:games
ntp:x:123:
abuild:x:300:
utmp:x:406:
ping:x:999:
nogroup:x:65533:
nobody:x:65534:
"""

# No account has a password: "*" and "!" are what no password hashes to (shadow(5)).
SHADOW = "".join(
    f"{name}:{'*' if name == 'root' else '!'}::0:::::\n"
    for name in (line.partition(":")[0] for line in PASSWD.splitlines())
)

OS_RELEASE = """\
NAME="minicontainer embedded"
ID=minicontainer-embedded
PRETTY_NAME="minicontainer embedded root filesystem"
"""

PROFILE = """\
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PAGER=less
export PS1='\\h:\\w\\$ '
umask 022
for script in /etc/profile.d/*.sh; do
	[ -r "$script" ] && . "$script"
done
unset script
"""

FILES = {
    "etc/group": GROUP,
    "etc/hostname": "localhost\n",
    "etc/hosts": "127.0.0.1\tlocalhost localhost.localdomain\n::1\t\tlocalhost localhost.localdomain\n",
    "etc/issue": "minicontainer embedded root filesystem\nKernel \\r on an \\m (\\l)\n\n",
    "etc/motd": "This root filesystem was made from its host's busybox. It has no package manager.\n",
    "etc/nsswitch.conf": "hosts: files dns\n",
    "etc/os-release": OS_RELEASE,
    "etc/passwd": PASSWD,
    "etc/profile": PROFILE,
    "etc/shadow": SHADOW,
    "etc/shells": "/bin/sh\n/bin/ash\n",
}

# Debian's busybox is built without adduser and addgroup, which Dockerfiles want. These do what busybox's do,
# with the same options but -k; where the busybox at hand has the applets, the applets are used.
_COMMON = r"""
fail() { echo "${0##*/}: $1" >&2; exit 1; }
has() { cut -d: -f"$2" "/etc/$1" | grep -qxF -e "$3"; } # has FILE FIELD VALUE
number() { case $1 in '' | *[!0-9]* | ??????????*) fail "invalid number '$1'" ;; esac; }
name() { case $1 in '' | -* | *[!A-Za-z0-9_.-]*) fail "invalid name '$1'" ;; esac; }
free() { # free FIRST LAST FILE...: the first number from FIRST on that is in none of the files
	id=$1 last=$2
	shift 2
	while cut -d: -f3 "$@" | grep -qx "$id"; do id=$((id + 1)); done
	[ "$id" -le "$last" ] && echo "$id"
}
"""

ADDGROUP = rf"""#!/bin/sh
# addgroup [-g GID] [-S] GROUP: add a group
# addgroup USER GROUP: add a user to a group
{_COMMON}
options=$(getopt -n addgroup -o g:S -l gid:,system -- "$@") || exit 1
eval set -- "$options"
gid='' first=1000 last=59999
while [ "$1" != -- ]; do
	case $1 in
	-g | --gid) number "$2"; gid=$2; shift ;;
	-S | --system) first=100 last=999 ;;
	esac
	shift
done
shift

if [ $# -eq 2 ]; then
	has passwd 1 "$1" || fail "unknown user $1"
	has group 1 "$2" || fail "unknown group $2"
	table=$(awk -F: -v OFS=: -v user="$1" -v group="$2" '
		$1 == group && index("," $4 ",", "," user ",") == 0 {{ $4 = $4 ? $4 "," user : user }}
		{{ print }}' /etc/group) || exit 1
	echo "$table" >/etc/group
	exit
fi
[ $# -eq 1 ] || fail 'usage: addgroup [-g GID] [-S] [USER] GROUP'
name "$1"
has group 1 "$1" && fail "group '$1' in use"
[ -n "$gid" ] && has group 3 "$gid" && fail "gid '$gid' in use"
[ -n "$gid" ] || gid=$(free $first $last /etc/group) || fail 'no gids left'
echo "$1:x:$gid:" >>/etc/group
"""

ADDUSER = rf"""#!/bin/sh
# adduser [-h DIR] [-g GECOS] [-s SHELL] [-G GROUP] [-u UID] [-S] [-D] [-H] USER: add a user
# adduser USER GROUP: add a user to a group
{_COMMON}
long=home:,gecos:,shell:,ingroup:,uid:,system,disabled-password,no-create-home
options=$(getopt -n adduser -o h:g:s:G:u:SDH -l $long -- "$@") || exit 1
eval set -- "$options"
home='' gecos='Linux User,,,' shell='' group='' uid='' first=1000 last=59999 create=yes password=yes
while [ "$1" != -- ]; do
	case $1 in
	-h | --home) home=$2; shift ;;
	-g | --gecos) gecos=$2; shift ;;
	-s | --shell) shell=$2; shift ;;
	-G | --ingroup) group=$2; shift ;;
	-u | --uid) number "$2"; uid=$2; shift ;;
	-S | --system) first=100 last=999 shell=${{shell:-/sbin/nologin}} group=${{group:-nogroup}} password='' ;;
	-D | --disabled-password) password='' ;;
	-H | --no-create-home) create='' ;;
	esac
	shift
done
shift

[ $# -eq 2 ] && exec addgroup "$1" "$2"
[ $# -eq 1 ] || fail 'usage: adduser [OPTIONS] USER [GROUP]'
name "$1"
has passwd 1 "$1" && fail "user '$1' in use"
[ -n "$uid" ] && has passwd 3 "$uid" && fail "uid '$uid' in use"
tables=/etc/passwd
[ -n "$group" ] || tables='/etc/passwd /etc/group' # a user with a group of its own has one number for both
[ -n "$uid" ] || uid=$(free $first $last $tables) || fail 'no uids left'
if [ -n "$group" ]; then
	has group 1 "$group" || fail "unknown group $group"
else
	addgroup -g "$uid" "$1" || exit 1
fi
gid=$(awk -F: -v group="${{group:-$1}}" '$1 == group {{ print $3 }}' /etc/group)

home=${{home:-/home/$1}}
echo "$1:x:$uid:$gid:$gecos:$home:${{shell:-/bin/sh}}" >>/etc/passwd || exit 1
echo "$1:!:$(($(date +%s) / 86400)):0:99999:7:::" >>/etc/shadow || exit 1
[ -z "$group" ] || [ "$group" = nogroup ] || addgroup "$1" "$group" || exit 1
if [ -n "$create" ] && [ ! -e "$home" ]; then
	mkdir -p "$home" && chown "$uid:$gid" "$home" && chmod 2755 "$home" || exit 1
fi
[ -z "$password" ] || exec passwd "$1"
"""

SCRIPTS = {"usr/sbin/addgroup": ADDGROUP, "usr/sbin/adduser": ADDUSER}
