// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title A collection whose tokens move in ranges, for demonstrations and tests.
/// @notice Anyone may mint. Tokens are numbered from 1 and never minted twice.
/// Staking is non-custodial: the owner stays the owner. A staked token cannot be transferred;
/// burning it is allowed and ends its staking.
/// @dev State is kept as maximal runs of tokens with the same owner and staking. A run starts where
/// its bit is set in `_heads`, and `_runs` holds its value: the owner, plus STAKED when staked, or
/// 0 where nobody owns. Looking up a token walks back to the head of its run, 256 tokens a step:
/// fine for a demonstration, not a design for a collection of millions held by one wallet.
contract NGU {
    event BatchMint(address indexed to, uint256 startTokenId, uint256 quantity);
    event BatchBurn(address indexed from, uint256 startTokenId, uint256 quantity);
    event BatchTransfer(
        address indexed from, address indexed to, uint256 startTokenId, uint256 quantity
    );
    event Stake(address indexed account, uint256 tokenId);
    event Unstake(address indexed account, uint256 tokenId);

    error NoSuchToken(uint256 tokenId);
    error NotYours(uint256 tokenId);
    error QuantityOutOfRange(uint256 quantity);
    error ZeroAddress();

    uint256 public constant MAX_QUANTITY = 400;
    uint256 private constant STAKED = 1 << 160;

    uint256 public totalSupply;
    uint256 public nextTokenId = 1;

    mapping(uint256 word => uint256 bits) private _heads;
    mapping(uint256 head => uint256 value) private _runs;

    modifier bounded(uint256 quantity) {
        if (quantity == 0 || quantity > MAX_QUANTITY) revert QuantityOutOfRange(quantity);
        _;
    }

    function batchMint(address to, uint256 quantity) external bounded(quantity) {
        if (to == address(0)) revert ZeroAddress();
        uint256 start = nextTokenId;
        nextTokenId = start + quantity;
        totalSupply += quantity;
        _set(start, start + quantity, uint160(to));
        emit BatchMint(to, start, quantity);
    }

    /// @notice Burn tokens of the caller, staked or not.
    function batchBurn(uint256 start, uint256 quantity) external bounded(quantity) {
        uint256 end = _end(start, quantity);
        for (uint256 id = start; id < end; id = _nextHead(id, end)) {
            if (address(uint160(_value(id))) != msg.sender) revert NotYours(id);
        }
        totalSupply -= quantity;
        _set(start, end, 0);
        emit BatchBurn(msg.sender, start, quantity);
    }

    /// @notice Transfer tokens of the caller that are not staked; the recipient may be the caller.
    function batchTransfer(address to, uint256 start, uint256 quantity)
        external
        bounded(quantity)
    {
        if (to == address(0)) revert ZeroAddress();
        uint256 end = _end(start, quantity);
        _requireRun(start, end, uint160(msg.sender));
        _set(start, end, uint160(to));
        emit BatchTransfer(msg.sender, to, start, quantity);
    }

    function stake(uint256 tokenId) external {
        _stake(tokenId);
    }

    function stake(uint256[] calldata tokenIds) external bounded(tokenIds.length) {
        for (uint256 i = 0; i < tokenIds.length; i++) {
            _stake(tokenIds[i]);
        }
    }

    function unstake(uint256 tokenId) external {
        _unstake(tokenId);
    }

    function unstake(uint256[] calldata tokenIds) external bounded(tokenIds.length) {
        for (uint256 i = 0; i < tokenIds.length; i++) {
            _unstake(tokenIds[i]);
        }
    }

    /// @notice The owner of a living token; any other is refused.
    function ownerOf(uint256 tokenId) external view returns (address owner) {
        owner = address(uint160(_valueOrZero(tokenId)));
        if (owner == address(0)) revert NoSuchToken(tokenId);
    }

    /// @notice The owner of a staked token; the zero address for any other.
    function stakerOf(uint256 tokenId) external view returns (address) {
        return _stakerIn(_valueOrZero(tokenId));
    }

    /// @notice Owners and stakers of `quantity` tokens from `start` on; zero where there is none.
    function holdings(uint256 start, uint256 quantity)
        external
        view
        returns (address[] memory owners, address[] memory stakers)
    {
        owners = new address[](quantity);
        stakers = new address[](quantity);
        uint256 end = start + quantity;
        if (end > nextTokenId) end = nextTokenId;
        for (uint256 id = start; id < end;) {
            uint256 value = _value(id);
            for (uint256 next = _nextHead(id, end); id < next; id++) {
                owners[id - start] = address(uint160(value));
                stakers[id - start] = _stakerIn(value);
            }
        }
    }

    function _stake(uint256 tokenId) private {
        uint256 end = _end(tokenId, 1);
        _requireRun(tokenId, end, uint160(msg.sender));
        _set(tokenId, end, STAKED | uint160(msg.sender));
        emit Stake(msg.sender, tokenId);
    }

    function _unstake(uint256 tokenId) private {
        uint256 end = _end(tokenId, 1);
        _requireRun(tokenId, end, STAKED | uint160(msg.sender));
        _set(tokenId, end, uint160(msg.sender));
        emit Unstake(msg.sender, tokenId);
    }

    function _end(uint256 start, uint256 quantity) private view returns (uint256) {
        if (start == 0 || start >= nextTokenId || quantity > nextTokenId - start) {
            revert NoSuchToken(start);
        }
        return start + quantity;
    }

    function _requireRun(uint256 start, uint256 end, uint256 value) private view {
        if (_value(start) != value || _nextHead(start, end) != end) revert NotYours(start);
    }

    /// @dev Give [start, end) one value and keep runs maximal on both sides. start is not 0.
    function _set(uint256 start, uint256 end, uint256 value) private {
        uint256 beyond = _value(end);
        for (uint256 id = _nextHead(start - 1, end + 1); id <= end; id = _nextHead(id, end + 1)) {
            _heads[id >> 8] &= ~(1 << (id & 255));
            delete _runs[id];
        }
        if (_value(start - 1) != value) _begin(start, value);
        if (beyond != value) _begin(end, beyond);
    }

    function _begin(uint256 head, uint256 value) private {
        _heads[head >> 8] |= 1 << (head & 255);
        if (value != 0) _runs[head] = value;
    }

    function _stakerIn(uint256 value) private pure returns (address) {
        return value & STAKED == 0 ? address(0) : address(uint160(value));
    }

    function _valueOrZero(uint256 tokenId) private view returns (uint256) {
        return tokenId < nextTokenId ? _value(tokenId) : 0;
    }

    /// @dev The value of the last run that starts at or before `tokenId`; 0 if there is none.
    function _value(uint256 tokenId) private view returns (uint256) {
        uint256 word = tokenId >> 8;
        uint256 bits = _heads[word] & (type(uint256).max >> (255 - (tokenId & 255)));
        while (bits == 0) {
            if (word == 0) return 0;
            bits = _heads[--word];
        }
        return _runs[(word << 8) | _highestBit(bits)];
    }

    /// @dev The first head after `tokenId`, or `end` if none comes before it.
    function _nextHead(uint256 tokenId, uint256 end) private view returns (uint256) {
        for (uint256 id = tokenId + 1; id < end; id = ((id >> 8) + 1) << 8) {
            uint256 bits = _heads[id >> 8] >> (id & 255);
            if (bits == 0) continue;
            uint256 head = id + _highestBit(bits & (~bits + 1));
            return head < end ? head : end;
        }
        return end;
    }

    function _highestBit(uint256 bits) private pure returns (uint256 position) {
        for (uint256 step = 128; step != 0; step >>= 1) {
            if (bits >> step == 0) continue;
            bits >>= step;
            position |= step;
        }
    }
}
