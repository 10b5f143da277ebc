/* Philox4x32-7 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011): the masks of eight rows by sixteen columns.
 *
 * Counter (column block*16 + lane, row group, stream[0], stream[1]), key seed[2]; lane 0..15. The 16 low bits of output word w of
 * lane l are the number of row w and column l of the tile, the 16 high bits that of row w + 4. So a mask depends on seed, stream,
 * row and column alone, never on threads or vector width.
 */
/* high and low words of the products of all lanes with m; 64-bit lanes hold an even lane in their low half */
INLINE void v_multiply_wide(vu *high, vu *low, vu a, uint32_t m) {
    const vul factor = (vul){0} + m, mask = (vul){0} + 0xffffffffu;
    const vul even = v_multiply_even((vul)a, factor), odd = v_multiply_even((vul)a >> 32, factor);
    *high = (vu)((even >> 32) | (odd & ~mask));
    *low = (vu)((even & mask) | (odd << 32));
}

INLINE void philox_lanes(vu c[4], uint32_t k0, uint32_t k1) {
    for (int round = 0; round < 7; round++) {
        vu high0, low0, high1, low1;
        v_multiply_wide(&high0, &low0, c[0], 0xD2511F53u);
        v_multiply_wide(&high1, &low1, c[2], 0xCD9E8D57u);
        c[0] = high1 ^ c[1] ^ k0;
        c[1] = low1;
        c[2] = high0 ^ c[3] ^ k1;
        c[3] = low0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

#define DROPOUT_GROUP 8

/* 1/(1-p) where the number is below the threshold (65536 keeps all), else 0, for rows group*8 … and columns block*16 …. */
INLINE void dropout_tile(vf mask[DROPOUT_GROUP][PIECES], const femto_dropout_settings *dropout, int64_t group, int64_t block) {
    const vu zero = {0};
    const vi threshold = (vi)zero + (int32_t)dropout->threshold;
    for (int piece = 0; piece < PIECES; piece++) {
        vu c[4] = {(vu)lane_index() + (uint32_t)(block * 16 + piece * LANES), zero + (uint32_t)group,
                   zero + dropout->stream[0], zero + dropout->stream[1]};
        philox_lanes(c, dropout->seed[0], dropout->seed[1]);
        for (int word = 0; word < 4; word++) {
            const vi low = (vi)((vi)(c[word] & 0xffffu) < threshold), high = (vi)((vi)(c[word] >> 16) < threshold);
            mask[word][piece] = (vf)(low & (vi)v_set(dropout->scale));
            mask[word + 4][piece] = (vf)(high & (vi)v_set(dropout->scale));
        }
    }
}
