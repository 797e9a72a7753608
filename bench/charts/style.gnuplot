# style.gnuplot - what all charts have in common: a white ground, so that they can be read on any page, quiet axes, and
# the same colours for the same things. Loaded first, with these set: name (of the file), height, heading, subheading.
#
# A chart is drawn in the folder its data lies in.

set datafile separator tab
set encoding utf8
set terminal svg size 900,height fixed background '#ffffff' font 'sans-serif,14' noenhanced
set output name . '.svg'

blue      = '#1f5f99' # hotpatch
blue_2    = '#5b9bd0'
blue_3    = '#9cc5e6'
orange    = '#d9822b' # what others do
orange_2  = '#c9a27a'
ink       = '#333333'
grey      = '#777777'
faint     = '#e2e2e2'

unset title
set label 1 heading at screen 0.025, 1 - 28.0 / height left font ',18' textcolor rgb ink
set label 2 subheading at screen 0.025, 1 - 52.0 / height left font ',13' textcolor rgb grey
set tmargin at screen 1 - 80.0 / height
set border 3 linecolor rgb '#999999'
set tics nomirror scale 0.4 textcolor rgb ink
set grid linecolor rgb faint linetype 1 linewidth 1
set key textcolor rgb ink samplen 2 spacing 1.3
set xlabel textcolor rgb grey

# The i-th line of a chart of lines, from 1.
array colours[6] = [blue, blue_2, orange, orange_2, '#7a8a99', blue_3]
array points[6] = [7, 5, 9, 11, 13, 1]
series_colour(i) = colours[(i - 1) % 6 + 1]
series_point(i) = points[(i - 1) % 6 + 1]

# Tics of logarithmic axes: times in microseconds, and numbers.
times = '("1 µs" 1, "10 µs" 10, "100 µs" 100, "1 ms" 1e3, "10 ms" 1e4, "100 ms" 1e5, "1 s" 1e6)'
counts = '("1" 1, "10" 10, "100" 100, "1,000" 1e3, "10,000" 1e4, "100,000" 1e5, "1,000,000" 1e6,' . \
	' "10,000,000" 1e7, "100,000,000" 1e8)'
