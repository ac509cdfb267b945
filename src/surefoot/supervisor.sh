#!/bin/sh
# The supervisor: runs an app's processes, and the engine when there is something to update.
#
# Who runs me: `surefoot run`, which opens the descriptors below and then becomes me; as PID 1 of a
#   container, under systemd, or in a terminal. When all else is broken: `sh supervisor.sh HOME`.
# As whom: the app's own user; nothing here needs root.
# Why a shell: an updater that replaces the ground it stands on dies with it. I need no Python, and
#   no file of the app's but the scripts in current/processes/, which I start.
#
# Whatever happens becomes one line in one pipe, and `main` reads one line after the other:
#   pid N PID, exit N CODE   from `watch`, the small shell beside each process; N 0 is the engine
#   signal NAME              from the traps, so that nothing is lost between two reads
#   restart N, expire N, timeout stop TURN, check    from the timers
#   update                   from clients: a request lies in run/request.json
#   stop, try, run, hold     from the engine: the goal; `stopped` and `started` are the answers;
#                            with `try private` the app is not given the sockets
#   beside RELEASE, adopt, drop    from the engine: a release that runs beside the app (`started`),
#                            becomes the app (`adopted`), or ends; any goal but `hold` ends it too
#
# Descriptors: 3-6 the listening sockets; 7 this pipe; 8 the pipe to the engine, which has all three;
# the processes have 3-6 only. 9 is the lock that makes me the only supervisor of this home.
set -u

say() { printf 'surefoot: %s\n' "$*" >&2; }

# The facts about process N are variables such as state_N: up, waiting (for its restart), done (it
# has ended normally) or down. Its name is that of its script; `beside`: it is not the app yet;
# `old`: it is the app no more, and ends.
get() { eval "value=\${$1_$2-}"; }
put() { eval "$1_$2=\$3"; }
locked() { [ -e "$lock" ] || [ -h "$lock" ]; }
is_up() { get state "$1" && [ "$value" = up ]; }
now() { read -r now </proc/uptime && now=${now%%.*}; }

# --- one process

start() { # N COMMAND...
    cancel "$1"
    now && put since "$1" "$now"
    put pid "$1" ''
    put state "$1" up
    watch "$@" &
    put shell "$1" "$!"
}

# Says `exit` when nothing is left of the process, nor of what it has started.
watch() { # N COMMAND...
    number=$1
    shift
    become "$@" </dev/null &
    pid=$!
    trap '' HUP INT QUIT TERM USR1 USR2
    exec 3>&- 4>&- 5>&- 6>&- 8>&- 9>&-
    echo "pid $number $pid" >&7
    wait "$pid" 2>/dev/null
    code=$?
    put pid "$number" "$pid"
    signal=TERM ticks=$((SUREFOOT_STOP_GRACE * 10))
    while signal_session "$signal" "$number" && [ "$ticks" -gt -50 ]; do
        signal=0 ticks=$((ticks - 1))
        [ "$ticks" -gt 0 ] || signal=KILL
        sleep 0.1
    done
    echo "exit $number $code" >&7
}

become() { # COMMAND..., in a session of its own
    trap - PIPE
    export SUREFOOT_MARK="$number:$token"
    get name "$number"
    case $number:$value:$private in
    0:*) ;;
    *:beside:* | *:private) # it is handed the public sockets when it is found healthy
        export SUREFOOT_PRIVATE="$SUREFOOT_HOME/run/private"
        unset LISTEN_FDS LISTEN_FDNAMES
        exec 3>&- 4>&- 5>&- 6>&-
        ;;
    esac
    set -- setsid "$@"
    # What a shell starts in the background ignores INT and QUIT.
    if [ "$can_reset" = 0 ]; then
        set -- env --default-signal=INT,QUIT "$@"
    fi
    if [ "$number" != 0 ]; then
        unset SUREFOOT_NOTIFY_URLS # the engine's secrets are not the app's
        exec "$@" 7>&- 8>&- 9>&-
    fi
    export SUREFOOT_ENGINE_CHILD=1
    exec "$@" 7>&7 8>&8 9>&-
}

signal_leader() { # SIGNAL N
    get pid "$2"
    [ -z "$value" ] || kill -s "$1" "$value" 2>/dev/null
}

# Signals all that N has started: what is in its session, and what bears its mark, such as a daemon
# that has made a session of its own. False if there is nothing.
signal_session() { # SIGNAL N
    get pid "$2"
    if [ -z "$proc" ]; then
        kill -s "$1" -- "-$value" 2>/dev/null
        return
    fi
    files=$(grep -lszE -e "^[0-9]+ [(].*[)] [^XZ] [0-9]+ [0-9]+ ${value:-none} " \
        -e "^SUREFOOT_MARK=$2:$token" "$proc"/[0-9]*/stat "$proc"/[0-9]*/environ)
    none=1
    for file in $files; do
        file=${file#"$proc"/}
        kill -s "$1" "${file%%/*}" 2>/dev/null && none=0
    done
    return "$none"
}

# --- timers, one for each key: a number, `stop` or `check`

after() { # KEY SECONDS LINE
    cancel "$1"
    (
        exec 3>&- 4>&- 5>&- 6>&- 8>&- 9>&-
        sleep "$2" 7>&- &
        trap 'kill "$!"' TERM
        wait "$!" && echo "$3" >&7
    ) 2>/dev/null &
    put timer "$1" "$!"
}

cancel() { # KEY
    get timer "$1"
    [ -z "$value" ] || kill "$value" 2>/dev/null
    put timer "$1" ''
}

# Sets `delay`, the seconds until N may start again: doubled each time, up to a limit, and begun
# anew after a stable run. `early` counts the ends in a row that came before that.
back_off() { # N
    now && get since "$1"
    stable=$((now - value >= SUREFOOT_STABLE_AFTER))
    get early "$1" && early=$((stable ? 0 : ${value:-0} + 1))
    get delay "$1" && delay=$((stable ? 0 : ${value:-0} * 2))
    [ "$delay" -ge "$SUREFOOT_CRASH_DELAY" ] || delay=$SUREFOOT_CRASH_DELAY
    [ "$delay" -le "$SUREFOOT_CRASH_DELAY_MAX" ] || delay=$SUREFOOT_CRASH_DELAY_MAX
    put early "$1" "$early"
    put delay "$1" "$delay"
}

# --- the app

start_app() { # GOAL [private]: starts what is not running
    goal=$1 private=${2-} turn=$((turn + 1))
    cancel stop
    drop
    for script in current/processes/*; do
        [ -x "$script" ] || continue
        number_of "${script##*/}"
        if is_up "$number"; then continue; fi
        put early "$number" 0
        put delay "$number" 0
        start "$number" "$SUREFOOT_HOME/$script"
    done
    [ -n "$numbers" ] || say "There is nothing to start in $SUREFOOT_HOME/current/processes."
    tell started
}

number_of() { # NAME: sets `number`
    for number in $numbers; do
        get name "$number"
        if [ "$value" = "$1" ]; then return; fi
    done
    number=$((${number:-0} + 1)) # the loop has left the highest
    numbers="$numbers $number"
    put name "$number" "$1"
}

beside() { # RELEASE: its process, where nobody but the engine reaches it
    number=''
    for each in $numbers; do
        get name "$each"
        if [ "$value" = old ] && ! is_up "$each"; then number=$each; fi
    done
    if [ -n "$number" ]; then put name "$number" beside; else number_of beside; fi
    for script in "releases/$1/processes"/*; do
        start "$number" "$SUREFOOT_HOME/$script"
        tell started
        return
    done
}

adopt() { # what runs beside becomes the app, and what was the app ends when it has no work left
    number_of beside
    new=$number
    is_up "$new" || return
    for number in $numbers; do
        if [ "$number" != "$new" ]; then retire "$number"; fi
    done
    for script in current/processes/*; do put name "$new" "${script##*/}"; done
    put early "$new" 0
    put delay "$new" 0
    tell adopted
}

drop() {
    for number in $numbers; do
        get name "$number"
        if [ "$value" = beside ]; then retire "$number"; fi
    done
}

retire() { # N
    put name "$1" old
    cancel "$1"
    if is_up "$1"; then
        signal_leader TERM "$1"
        after "$1" "$SUREFOOT_STOP_GRACE" "expire $1"
    else
        put state "$1" down
    fi
}

stop_app() { # GOAL: `end` ends the engine as well
    goal=$1 turn=$((turn + 1)) killed=0
    after stop "$SUREFOOT_STOP_GRACE" "timeout stop $turn"
    for number in $(concerned); do
        cancel "$number"
        if is_up "$number"; then signal_leader TERM "$number"; else put state "$number" down; fi
    done
    settle
}

concerned() { if [ "$goal" = end ]; then echo "0 $numbers"; else echo "$numbers"; fi; }

kill_app() {
    after stop "$((SUREFOOT_STOP_GRACE + 5))" "timeout stop $turn"
    for number in $(concerned); do
        if is_up "$number"; then
            get name "$number"
            say "$value does not end: it is killed, with all that it has started."
            signal_session KILL "$number"
        fi
    done
}

settle() { # are all down that are to be?
    for number in $(concerned); do
        get state "$number"
        case $value in up | waiting) return ;; esac
    done
    case $goal in
    run) finish 0 ;;
    end) finish "$end_code" ;;
    stop)
        cancel stop
        tell stopped
        ;;
    esac
}

process_ended() { # N CODE
    put state "$1" down
    get name "$1" && name=$value
    if [ "$name" = old ]; then
        cancel "$1"
        settle
        return
    fi
    tell "exit $name $2"
    case $goal in stop | end) settle ;; *) say "$name ended with $2." ;; esac
    if [ "$goal" != run ] || [ "$name" = beside ]; then return; fi
    back_off "$1"
    case $2 in
    0)
        if ! is_up 0 && ! locked; then
            put state "$1" 'done'
            settle
            return
        fi
        ;;
    10) want_update ;;
    *)
        { echo "$name" >>run/crashes; } 2>/dev/null
        if [ "$stable:$((early % 3))" = 0:0 ] && ! locked; then start_engine crashed; fi
        ;;
    esac
    case $stable:$2 in 1:0 | 1:10) delay=0 ;; esac
    put state "$1" waiting
    say "$name starts again in $delay s."
    after "$1" "$delay" "restart $1"
}

# --- the engine

start_engine() { # COMMAND...
    if is_up 0; then return; fi
    echo drained >&8 # what is left in its pipe was for the one before
    until read -r value <&8 && [ "$value" = drained ]; do :; done
    wanted=0
    start 0 "$SUREFOOT_PYTHON" -I -m surefoot engine "$@"
}

tell() { if is_up 0; then echo "$1" >&8; fi; }

want_update() {
    wanted=1
    if is_up 0; then tell request; else start_engine update; fi
}

take_request() { if [ -e run/request.json ]; then start_engine update; fi; }

next() { # when no engine runs: at the start, and after one has ended
    if locked; then
        start_engine resume
    elif [ ! -e current ]; then
        start_engine update
    elif [ "$goal" != run ]; then
        start_app run
    fi
}

engine_ended() { # CODE
    put state 0 down
    case $goal:$1 in
    end:*)
        settle
        return
        ;;
    *:126 | *:127) say "The engine ($SUREFOOT_PYTHON) cannot be started: no updates until it can." ;;
    esac
    if ! locked && [ -e current ]; then
        next
        if [ "$wanted" = 1 ] || [ "$1" -lt 128 ] || [ ! -e run/request.json ]; then
            put delay 0 0
            [ "$wanted" = 0 ] || take_request
            return
        fi # killed before it could take the request up or answer it: nobody else would
    elif [ "$1" = 8 ]; then
        say 'THE UPDATE IS BROKEN: a person is needed, nothing more is started by itself.' \
            'Read data/update_history.jsonl, or ask "surefoot status".'
        return
    elif [ "$goal" != run ] && [ -e current ]; then
        if grep -qsE '"state":"(requested|staged|proven)"' "$lock"; then
            say 'The update in flight has not touched the app, so it runs on.'
            start_app run
        else
            say 'The update in flight may be half way: the app is NOT started, to protect its data.'
        fi
    fi
    back_off 0
    say "The engine ended with $1 before its work was done; it starts again in $delay s."
    put state 0 waiting
    after 0 "$delay" 'restart 0'
}

# --- myself

prepare() { # [HOME]
    here=$(cd "$(dirname "$0")" && pwd)
    SUREFOOT_HOME=${1-${SUREFOOT_HOME-}}
    if [ -z "$SUREFOOT_HOME" ] || ! cd "$SUREFOOT_HOME"; then
        say 'Name the folder of the app: sh supervisor.sh HOME.'
        exit 2
    fi
    SUREFOOT_HOME=$(pwd -P)
    if [ -z "${SUREFOOT_PYTHON-}" ]; then # I may lie in an environment
        SUREFOOT_PYTHON=$(command -v "$here/../../../../bin/python" || echo python3)
    fi
    export SUREFOOT_HOME SUREFOOT_PYTHON
    : "${SUREFOOT_STOP_GRACE:=10}" "${SUREFOOT_CRASH_DELAY:=1}" "${SUREFOOT_CRASH_DELAY_MAX:=60}"
    : "${SUREFOOT_STABLE_AFTER:=60}" "${SUREFOOT_CHECK_INTERVAL:=0}"
    lock=data/UPDATE_LOCK.json goal=stop end_code=0 killed=0 wanted=0 turn=0 private='' numbers=''
    env --default-signal=INT,QUIT true 2>/dev/null # not every env can
    can_reset=$?
    if ! read -r token </proc/sys/kernel/random/uuid; then
        say '/proc is missing: without it I cannot find what the app has started.'
        exit 1
    fi
    read -r proc </proc/self/stat # /proc may be that of another PID namespace, with other pids
    if [ "${proc%% *}" = "$$" ]; then proc=/proc; else proc=''; fi
    put name 0 'The engine'
    [ -n "${SUREFOOT_CONTROL_READY-}" ] || open_pipes
    unset SUREFOOT_CONTROL_READY
}

open_pipes() { # by hand: what `surefoot run` would have done, except for the listening sockets
    run=$SUREFOOT_HOME/run
    mkdir -m 700 "$run" 2>/dev/null
    if [ ! -w "$run" ]; then
        say "$run cannot be written: I obey signals, but no command can reach me."
        run=$(mktemp -d) || exit 1
    fi
    exec 9>>"$run/supervisor.lock"
    if command -v flock >/dev/null && ! flock -n 9 9>&9; then
        say "Another supervisor runs this app: process $(cat "$run/supervisor.lock")."
        exit 4
    fi
    echo "$$" >"$run/supervisor.lock"
    rm -f "$run/control" "$run/events"
    mkfifo -m 600 "$run/control" "$run/events" || exit 1
    exec 7<>"$run/control" 8<>"$run/events"
}

set_traps() {
    trap '' PIPE                     # whoever reads my messages may go away
    trap 'jobs >/dev/null 2>&1' CHLD # reaps, orphans too
    trap 'echo signal TERM >&7' TERM
    trap 'echo signal INT >&7' INT
    trap 'echo signal HUP >&7' HUP
    trap 'echo signal QUIT >&7' QUIT
    trap 'echo signal USR1 >&7' USR1
    trap 'echo signal USR2 >&7' USR2
}

signalled() { # NAME
    case $goal:$1 in
    end:TERM | end:INT) kill_app ;;
    *:TERM | *:INT)
        if [ "$1" = TERM ]; then end_code=143; else end_code=130; fi
        stop_app end
        ;;
    *) for number in $numbers; do if is_up "$number"; then signal_leader "$1" "$number"; fi; done ;;
    esac
}

schedule_check() {
    [ "$SUREFOOT_CHECK_INTERVAL" = 0 ] || after check "$SUREFOOT_CHECK_INTERVAL" check
}

finish() { # CODE
    for key in stop check 0 $numbers; do cancel "$key"; done
    rm -f run/control run/events
    exit "$1"
}

obey() { # a line
    case $1 in
    pid)
        put pid "$2" "$3"
        case $goal:$2 in stop:0) ;; end:* | stop:*) signal_leader TERM "$2" ;; esac
        ;;
    exit)
        get shell "$2"
        wait "$value" 2>/dev/null # or it stays a zombie until something else is started
        if [ "$2" = 0 ]; then engine_ended "$3"; else process_ended "$2" "$3"; fi
        ;;
    signal) signalled "$2" ;;
    timeout)
        [ "$3" = "$turn" ] || return # of an earlier stop
        [ "$goal:$killed" != end:1 ] || finish "$end_code" # not even SIGKILL has helped
        killed=1
        put timer stop ''
        kill_app
        ;;
    update) want_update ;;
    check)
        put timer check ''
        locked || start_engine update --auto
        schedule_check
        ;;
    restart)
        get state "$2"
        [ "$value" = waiting ] || return # of an earlier goal
        put timer "$2" ''
        get name "$2"
        if [ "$2" = 0 ]; then
            next
            take_request
        else
            start "$2" "$SUREFOOT_HOME/current/processes/$value"
        fi
        ;;
    expire)
        get name "$2"
        if [ "$value" = old ] && is_up "$2"; then signal_session KILL "$2"; fi
        ;;
    beside) beside "$2" ;;
    adopt) adopt ;;
    drop) drop ;;
    stop) stop_app stop ;;
    try | run) start_app "$1" "$2" ;;
    hold) goal=hold ;;
    esac
}

main() {
    prepare "$@"
    set_traps
    schedule_check
    next
    take_request
    while :; do
        read -r word who what <&7 || continue # interrupted by a signal, whose line is there now
        case $word$who$what in *[!A-Za-z0-9]*) continue ;; esac
        case $goal:$word in
        end:pid | end:exit | end:signal | end:timeout) ;;
        end:*) continue ;;
        esac
        obey "$word" "$who" "$what"
    done
}

main "$@"
