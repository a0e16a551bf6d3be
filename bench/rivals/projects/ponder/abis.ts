import { parseAbi } from "viem";

export const erc721 = parseAbi([
  "event Transfer(address indexed from, address indexed to, uint256 indexed tokenId)",
]);

export const ngu = parseAbi([
  "event BatchMint(address indexed to, uint256 startTokenId, uint256 quantity)",
  "event BatchBurn(address indexed from, uint256 startTokenId, uint256 quantity)",
  "event BatchTransfer(address indexed from, address indexed to, uint256 startTokenId, uint256 quantity)",
  "event Stake(address indexed account, uint256 tokenId)",
  "event Unstake(address indexed account, uint256 tokenId)",
]);
