/* cdf.h - reads one series from a classic NetCDF file (format CDF-1), enough for gridded monthly fields. */
#ifndef SAMPLE_CDF_H
#define SAMPLE_CDF_H

/* The values of a 32-bit variable [records, rows, columns] at one place of the grid, for all records, at most `most`. Returns how many; 0: the file
 * is missing, or is not of this kind. */
int cdf_series(const char *path, const char *variable, int row, int column, float *out, int most);

#endif
