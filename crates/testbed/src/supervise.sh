# Runs a program in the process group of this shell, as long as the owner holds the other end of
# standard input. When the owner closes it, or dies by any signal, the whole group is stopped.
#   $1     seconds between SIGTERM and SIGKILL (0: SIGKILL at once)
#   $2     a folder to remove at the end, or ''
#   $3...  the program
grace=$1 folder=$2
shift 2
exec 3<&0
"$@" </dev/null 3<&- &
program=$!
trap '' TERM INT HUP QUIT # after the start of the program, which must not inherit it
{
    cat <&3 >/dev/null
    if [ "$grace" -gt 0 ]; then
        kill -s TERM -- "-$$"
        tenths=$((grace * 10))
        while [ "$tenths" -gt 0 ] && kill -0 "$program" 2>/dev/null; do
            sleep 0.1
            tenths=$((tenths - 1))
        done
    fi
    if [ -n "$folder" ]; then
        kill -s KILL "$program"
        sleep 0.2
        rm -rf -- "$folder"
    fi
    kill -s KILL -- "-$$"
} 2>/dev/null &
exec 3<&-
wait "$program"
