# Makes traffic.csv: awk -f traffic.awk > traffic.csv
# Drawn by hand as straight lines between (second, requests/s), with noise of a fixed seed on top: the
# Lehmer generator x' = 16807 x mod (2^31 - 1), whose numbers every awk computes exactly.
function noise() { seed = (seed * 16807) % 2147483647; return seed / 2147483647 * 2 - 1 }
BEGIN {
    seed = 71
    points = split("0 300 480 1500 1680 2700", at, " ")
    split("60 60 540 540 60 60", rate, " ")
    print "# made by traffic.awk, seed " seed "; no recording of real users"
    print "seconds,requests_per_second"
    leg = 1
    for (second = 0; second <= at[points]; second += 5) {
        while (leg < points - 1 && second >= at[leg + 1]) leg++
        line = rate[leg] + (rate[leg + 1] - rate[leg]) * (second - at[leg]) / (at[leg + 1] - at[leg])
        printf "%d,%.1f\n", second, line * (1 + 0.03 * noise())
    }
}
