# threads.gnuplot - the time of a change of one function against the number of blocked threads, beside the time others
# take to stop as many.

name = 'threads'
height = 540
heading = 'What a change costs among blocked threads, and what it takes others to stop them'
subheading = 'median and middle half; logarithmic scales'
load 'style.gnuplot'

stats 'threads.dat' using 1:2 nooutput name 'all'

set logscale xy
set xrange [all_min_x / 1.7 : all_max_x * 1.7]
set yrange [0.99 * 10 ** floor(log10(all_min_y)) : 1.01 * 10 ** ceil(log10(all_max_y))]
set xlabel 'threads blocked in system calls' offset 0,-0.3
set xtics (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
set ytics @times
set key left top reverse Left
set lmargin at screen 0.09
set rmargin at screen 0.97

# The changes are the first three blocks (report_charts.c). Side by side, since they are close to each other.
array colours[6] = [blue, blue_2, blue_3, orange, orange_2, '#7a8a99']
beside(n, i) = n * 1.04 ** (i - 2)
plot for [i = 1 : all_blocks] 'threads.dat' index i - 1 using (beside($1, i)):3:(0):($4 - $3) with vectors nohead \
		linecolor rgb series_colour(i) linewidth 1.5 notitle, \
	for [i = 1 : all_blocks] 'threads.dat' index i - 1 using (beside($1, i)):2 with linespoints \
		linecolor rgb series_colour(i) linewidth 2 pointtype series_point(i) pointsize 0.8 \
		title columnheader(2)
